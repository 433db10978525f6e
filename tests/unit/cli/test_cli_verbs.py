"""What each verb does and says when all goes well."""

import json
import os
import socket
from pathlib import Path

import cli_harness
import pytest
from cli_harness import Thence

folder = cli_harness.folder
project = cli_harness.project
thence = cli_harness.thence


def test_init_says_where_and_what_next(folder: Path, thence: Thence) -> None:
    done = thence("init")
    assert done.out.splitlines()[0] == f"made a project in {folder}"
    assert "thence save" in done.out
    assert done.err == ""


def test_init_makes_the_folder_that_is_named(folder: Path, thence: Thence) -> None:
    thence("init", "papers/fraud")
    assert (folder / "papers/fraud/.thence/store/project.json").is_file()


def test_init_adds_itself_to_gitignore(folder: Path, thence: Thence) -> None:
    (folder / ".git").mkdir()
    assert "added .thence/ to .gitignore" in thence("init").out
    assert (folder / ".gitignore").read_text() == ".thence/\n"


def test_save_says_what_happened_to_each_path(folder: Path, thence: Thence) -> None:
    thence("init")
    (folder / "a.csv").write_text("x\n1\n")
    (folder / "notes.md").write_text("# hello\n")
    done = thence("save", "a.csv", "notes.md")
    assert done.out.splitlines() == [
        "saved a.csv@v1 (dataset, 1 file, 4 B)",
        "saved notes.md@v1 (document, 1 file, 8 B)",
    ]
    assert thence("save", "a.csv").out == "unchanged a.csv@v1\n"
    added = thence("save", "a.csv", "--note", "why", "--tag", "k=v", "--metric", "auc=0.5")
    assert added.out == "a.csv@v1: added note, tags, metrics (the content is unchanged)\n"


def test_save_as_puts_paths_together(folder: Path, thence: Thence) -> None:
    thence("init")
    (folder / "a.bin").write_bytes(b"a")
    (folder / "b.bin").write_bytes(b"bb")
    done = thence("save", "a.bin", "b.bin", "--as", "pair", "--kind", "model", "--json").objects
    assert [one["type"] for one in done] == ["saved"]
    assert done[0]["ref"] == "pair@v1"
    assert done[0]["kind"] == "model"
    assert done[0]["files"] == 2
    assert done[0]["new"] is True


def test_save_keeps_documentation(project: Path, thence: Thence) -> None:
    (project / "CARD.md").write_text("# Sales\n\nOf all shops.\n")
    thence("save", "data", "--doc", "CARD.md")
    shown = thence("show", "data").out
    assert "# Sales" in shown
    assert "Of all shops." in shown


def test_save_names_what_it_skips(folder: Path, thence: Thence) -> None:
    thence("init")
    (folder / "box").mkdir()
    (folder / "box" / "file.txt").write_text("x")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("box/sock")
        done = thence("save", "box")
        as_objects = thence("save", "box", "--json").objects
    assert "saved box@v1 (document, 1 file, 1 B)" in done.out
    assert "sock was skipped" in done.err
    assert [one["type"] for one in as_objects] == ["saved", "warning"]


def test_save_keeps_a_broken_link(folder: Path, thence: Thence) -> None:
    thence("init")
    (folder / "box").mkdir()
    (folder / "box" / "link").symlink_to("nowhere")
    (folder / "box" / "file").write_text("x")
    assert thence("save", "box").out.startswith("saved box@v1")
    thence("get", "box", "copy")
    assert os.readlink(folder / "copy" / "link") == "nowhere"


def test_save_takes_names_that_are_not_utf8(folder: Path, thence: Thence) -> None:
    thence("init")
    name = os.fsdecode(b"caf\xe9.csv")
    (folder / name).write_text("x\n")
    assert thence("save", name).out == "saved caf%E9.csv@v1 (dataset, 1 file, 2 B)\n"
    (folder / name).unlink()
    thence("get", "caf%E9.csv")
    assert (folder / name).read_text() == "x\n"
    assert "unchanged" in thence("status").out
    assert thence("status", "--json").objects[-1]["unchanged"] == 1


def test_ls_is_a_table_and_takes_filters(project: Path, thence: Thence) -> None:
    (project / "notes.md").write_text("# hello\n")
    thence("save", "notes.md")
    thence("alias", "data@v1", "golden")
    thence("alias", "data", "newest")
    lines = thence("ls").out.splitlines()
    assert lines[0].split() == ["NAME", "KIND", "VERSION", "SIZE", "WHEN", "ALIASES"]
    assert lines[1].split() == [
        "data", "dataset", "v2", "16", "B", "just", "now", "golden=v1", "newest",
    ]  # fmt: skip
    assert lines[2].split()[:3] == ["notes.md", "document", "v1"]
    assert [one["name"] for one in thence("ls", "--kind", "document", "--json").objects] == [
        "notes.md"
    ]
    assert [one["name"] for one in thence("ls", "--prefix", "da", "--json").objects] == ["data"]
    nothing = thence("ls", "--prefix", "zz")
    assert nothing.out == ""
    assert nothing.err == "nothing fits\n"


def test_history_shows_notes_aliases_and_moves(project: Path, thence: Thence) -> None:
    thence("alias", "data@v1", "golden", "--note", "checked")
    lines = thence("history", "data").out.splitlines()
    assert [line.split()[0] for line in lines] == ["VERSION", "v2", "v1"]
    assert "golden" in lines[2]
    assert "as delivered" in lines[2]
    moves = thence("history", "data", "--aliases").out.splitlines()
    assert moves[1].split() == ["golden", "v1", "just", "now", "ada", "checked"]


def test_show_a_version(project: Path, thence: Thence) -> None:
    thence("tag", "data@v1", "source=lab")
    thence("alias", "data@v1", "golden")
    thence("save", "data", "--metric", "rows=3")
    text = thence("show", "data@v1").out
    assert text.splitlines()[0] == "data@v1  dataset"
    for wanted in ("as delivered", "by ada", "golden", "source=lab", "2 files, 8 B", "day1.csv"):
        assert wanted in text
    assert "rows 3" in thence("show", "data").out
    version, *files = thence("show", "data@v1", "--json").objects
    assert version["type"] == "version"
    assert version["tags"] == {"source": "lab"}
    assert version["created"].endswith("Z")
    assert [(one["type"], one["path"], one["size"]) for one in files] == [
        ("file", "day1.csv", 4),
        ("file", "day2.csv", 4),
    ]


def test_show_lists_twenty_files_and_counts_the_rest(folder: Path, thence: Thence) -> None:
    thence("init")
    (folder / "many").mkdir()
    for number in range(25):
        (folder / "many" / f"{number:02}.txt").write_text(str(number))
    thence("save", "many")
    text = thence("show", "many").out
    assert "19.txt" in text
    assert "20.txt" not in text
    assert "and 5 more files" in text
    assert len(thence("show", "many", "--json").objects) == 26


def test_diff_shows_files_and_lines(project: Path, thence: Thence) -> None:
    lines = thence("diff", "data@v1", "data").out.splitlines()
    assert lines == [
        "data@v1 -> data@v2: 1 added, 1 changed",
        "~ day2.csv (4 B -> 8 B)",
        "    @@ -1 +1,2 @@",
        "     3,4",
        "    +5,6",
        "+ day3.csv (4 B)",
        "1 file the same",
    ]
    head, *changes = thence("diff", "data@v1", "data", "--json").objects
    assert (head["added"], head["removed"], head["changed"], head["same"]) == (1, 0, 1, 1)
    assert [one["path"] for one in changes] == ["day2.csv", "day3.csv"]
    assert thence("diff", "data", "data").out.startswith("data@v2 -> data@v2: no difference")


def test_status_tells_unchanged_modified_and_missing(project: Path, thence: Thence) -> None:
    (project / "a.txt").write_text("a")
    (project / "b.txt").write_text("b")
    thence("save", "a.txt", "b.txt")
    (project / "a.txt").unlink()
    (project / "data" / "day1.csv").write_text("9,9\n")
    lines = thence("status").out.splitlines()
    assert lines == [
        "  missing    a.txt  (a.txt@v1)",
        "  unchanged  b.txt  (b.txt@v1)",
        "  modified   data  (data@v2)",
        "      ~ day1.csv",
        "1 unchanged, 1 modified, 1 missing",
    ]
    *paths, total = thence("status", "--json").objects
    assert {one["path"]: one["state"] for one in paths} == {
        "a.txt": "missing", "b.txt": "unchanged", "data": "modified",
    }  # fmt: skip
    assert paths[2]["changes"] == [["day1.csv", "changed"]]
    assert (total["unchanged"], total["modified"], total["missing"]) == (1, 1, 1)


def test_alias_moves_and_is_a_ref(project: Path, thence: Thence) -> None:
    assert thence("alias", "data@v1", "golden").out == "data@golden is data@v1 now\n"
    assert thence("show", "data@golden").out.startswith("data@v1 ")
    assert thence("alias", "data", "golden").out == "data@golden is data@v2 now\n"


def test_tag_sets_and_removes(project: Path, thence: Thence) -> None:
    assert thence("tag", "data", "b=2", "a=1=1").out == "data@v2: a=1=1, b=2\n"
    assert thence("tag", "data", "b=").out == "data@v2: a=1=1\n"
    assert thence("tag", "data", "a=", "--json").objects[0]["tags"] == {}


def test_describe_sets_and_shows(project: Path, thence: Thence) -> None:
    assert thence("describe", "data").out == ""
    (project / "CARD.md").write_text("# Sales\n")
    said = thence("describe", "data", "Daily sales", "--doc", "CARD.md")
    assert said.out == "data: set the description and the card\n"
    assert thence("describe", "data").out == "Daily sales\n\n# Sales\n\n"
    assert thence("show", "data").out.splitlines()[1] == "  Daily sales"
    assert thence("describe", "data", "--json").objects[0]["card_text"] == "# Sales\n"


def test_rollback_makes_a_new_version(project: Path, thence: Thence) -> None:
    done = thence("rollback", "data", "v1")
    assert done.out.splitlines()[0] == "saved data@v3: rolled back to v1"
    assert thence("diff", "data@v1", "data").out.startswith("data@v1 -> data@v3: no difference")
    assert thence("rollback", "data", "v1").out.startswith("unchanged data@v3")


def test_rollback_to_the_latest_content_changes_nothing(project: Path, thence: Thence) -> None:
    thence("save", "data", "--note", "as measured")
    was = thence("show", "data", "--json").objects
    assert thence("rollback", "data", "v2").out.startswith("unchanged data@v2")
    assert thence("show", "data", "--json").objects == was


def test_get_moves_between_a_file_and_a_folder(folder: Path, thence: Thence) -> None:
    thence("init")
    thing = folder / "thing"
    thing.write_text("file")
    thence("save", "thing")
    thing.unlink()
    (thing / "deep").mkdir(parents=True)
    (thing / "deep" / "part").write_text("part")
    (thing / "other").write_text("other")
    thence("save", "thing")
    thence("get", "thing@v1")
    assert thing.read_text() == "file"
    got = thence("get", "thing@v2", "thing", "--json").objects[0]
    assert sorted(got["written"]) == ["deep/part", "other"]
    assert (thing / "deep" / "part").read_text() == "part"
    (thing / "other").write_text("unsaved")
    refused = thence("get", "thing@v1", ok=False)
    assert "is a folder where a file should be written" in refused.err
    assert (thing / "other").read_text() == "unsaved"


def test_get_says_where_it_wrote(project: Path, thence: Thence) -> None:
    done = thence("get", "data@v1", "old")
    assert done.out == "got data@v1 as old (2 files written)\n"
    again = thence("get", "data@v2", "old", "--json").objects[0]
    assert sorted(again["written"]) == ["day2.csv", "day3.csv"]
    assert again["unchanged"] == 1
    back = thence("get", "data@v1", "old").out
    assert back == "got data@v1 as old (1 file written, 1 file unchanged, 1 file removed)\n"
    assert thence("get", "data:day1.csv", "one.csv").out == (
        "got data@v2 as one.csv (1 file written)\n"
    )


def test_the_index_can_be_looked_at_and_rebuilt(project: Path, thence: Thence) -> None:
    assert "versions    2" in thence("index", "status").out
    assert thence("index", "rebuild").out.startswith("read 2 entries of 1 log in ")
    found = thence("index", "status", "--json").objects[0]
    assert (found["type"], found["versions"], found["problems"]) == ("index", 2, {})


def test_nothing_run_yet(project: Path, thence: Thence) -> None:
    assert thence("runs", "list").err == "nothing was run yet: thence run COMMAND\n"
    assert thence("runs", "recover").out == "nothing to recover\n"


@pytest.mark.parametrize("place", ["before", "after"])
def test_shared_options_stand_before_or_after_the_verb(
    project: Path, thence: Thence, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.chdir("/")
    shared = ("--json", "--project", str(project))
    done = thence(*shared, "ls") if place == "before" else thence("ls", *shared)
    assert done.objects[0]["name"] == "data"


def test_shared_options_work_in_groups(project: Path, thence: Thence) -> None:
    for args in (
        ("--json", "index", "status"),
        ("index", "--json", "status"),
        ("index", "status", "--json"),
    ):
        assert json.loads(thence(*args).out)["type"] == "index"


def test_quiet_says_only_what_was_asked_for(project: Path, thence: Thence) -> None:
    assert thence("save", "data", "-q").out == ""
    assert thence("-q", "alias", "data", "golden").out == ""
    assert "data" in thence("ls", "-q").out


def test_the_project_of_the_variable(
    project: Path, thence: Thence, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    monkeypatch.setenv("THENCE_PROJECT", str(project))
    assert thence("ls", "--json").objects[0]["name"] == "data"


def test_what_others_wrote_cannot_drive_the_terminal(project: Path, thence: Thence) -> None:
    thence("save", "data", "--note", "red \x1b[31m and \u202e turned")
    for args in (("show", "data"), ("history", "data")):
        text = thence(*args).out
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert r"\x1b[31m" in text


def test_version_and_help(folder: Path, thence: Thence) -> None:
    assert thence("--version").out.startswith("thence 0.")
    assert thence("--help").out == thence("-h").out
    assert thence(ok=False).status == 2


def test_what_is_ignored_is_counted_and_listed(project: Path, thence: Thence) -> None:
    (project / "d" / "empty").mkdir(parents=True)
    (project / "d" / "kept").write_text("1")
    (project / "d" / "x.tmp").write_text("1")
    (project / ".thenceignore").write_text("*.tmp\n")
    saved = thence("save", "d")
    assert "1 file," in saved.out
    assert "1 path ignored" in saved.err
    assert "1 empty folder not kept" in saved.err
    again = thence("save", "d", "-v")
    assert "ignored d/x.tmp" in again.err
    assert "empty folder" not in again.err
    assert thence("status").out.startswith("  unchanged  d")
    (told,) = thence("save", "d", "--json").objects
    assert (told["ignored"], told["empty_folders"]) == (["x.tmp"], 1)
    everything = thence("save", "d", "--no-ignore")
    assert "2 files" in everything.out
    assert "ignored" not in everything.err
    assert thence("status").out.startswith("  unchanged  d")


def test_a_file_that_is_named_is_saved_although_it_is_ignored(
    project: Path, thence: Thence
) -> None:
    (project / "x.tmp").write_text("1")
    (project / "all").mkdir()
    (project / "all" / "x.tmp").write_text("1")
    (project / ".thenceignore").write_text("*.tmp\n")
    assert "saved x.tmp@v1" in thence("save", "x.tmp").out
    refused = thence("save", "all", ok=False)
    assert refused.status == 2
    assert "--no-ignore" in refused.err
