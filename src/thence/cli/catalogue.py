"""All verbs: which module each is in, and the line that the overview has for it.

The overview reads this table instead of the modules, so that `thence --help` imports none of them.
A test compares it with the commands.
"""

from typing import NamedTuple

__all__ = ["SECTIONS", "VERBS", "Entry"]


class Entry(NamedTuple):
    """Where a verb is and what it does.

    Attributes:
        module: Below `thence.cli`.
        name: Of the command object in it.
        summary: The first line of its help.
    """

    module: str
    name: str
    summary: str


SECTIONS: dict[str, dict[str, Entry]] = {
    "Save and give back": {
        "init": Entry("initialising", "init", "Make a project in a folder."),
        "save": Entry("saving", "save", "Save files and folders as versions."),
        "get": Entry("getting", "get", "Write a version to disk."),
        "rollback": Entry("saving", "rollback", "Make an old version the latest one again."),
    },
    "Look": {
        "ls": Entry("listing", "ls", "List the artifacts."),
        "show": Entry("showing", "show", "Show everything about a version or a run."),
        "history": Entry("listing", "history", "List the versions of an artifact."),
        "diff": Entry("comparing", "diff", "Show what changed from one version to another."),
        "status": Entry("comparing", "status", "Say which saved paths were changed since."),
    },
    "Name and document": {
        "alias": Entry("naming", "alias", "Point an alias at a version."),
        "tag": Entry("naming", "tag", "Set or remove tags of a version or a run."),
        "describe": Entry("naming", "describe", "Say, or show, what an artifact is."),
    },
    "Run and reproduce": {
        "run": Entry("running", "run", "Run a command and keep all that its results are made of."),
        "log": Entry("running", "log", "Log metrics and parameters of the run that is going on."),
        "runs": Entry("runs", "runs", "List, compare, watch and recover runs."),
        "reproduce": Entry("reproducing", "reproduce", "Run a run again and judge its results."),
        "demo": Entry("demo", "demo", "Make a small project that shows what thence does."),
    },
    "Share": {
        "clone": Entry("sharing", "clone", "Copy a project from a store."),
        "push": Entry("sharing", "push", "Send home what was saved in this clone."),
        "pull": Entry("sharing", "pull", "Fetch what others saved at home."),
        "mirror": Entry("sharing", "mirror", "Copy the project into another store, to be read."),
        "import": Entry("sharing", "import_", "Bring in what was made elsewhere."),
        "outbox": Entry("sharing", "outbox", "What waits in this clone to be pushed."),
    },
    "Look after": {
        "check": Entry("checking", "check", "Check that everything is there and whole."),
        "repair": Entry("checking", "repair", "Heal what is damaged or lost from other stores."),
        "rm": Entry("removing", "rm", "Remove versions or runs."),
        "erase": Entry("removing", "erase", "Take bytes out of the project for good, everywhere."),
        "gc": Entry("collecting", "gc", "Delete content that nothing refers to any more."),
        "index": Entry("indexing", "index", "The index: its state, and how to rebuild it."),
    },
}

VERBS: dict[str, Entry] = {
    name: entry for section in SECTIONS.values() for name, entry in section.items()
}
