"""`alias`, `tag` and `describe`: what people say of things."""

import click

from thence.cli.values import PAIR, as_mapping
from thence.cli.verb import Invocation, verb

__all__ = ["alias", "describe", "tag"]


@verb(
    "alias",
    examples=["thence alias data@v1 golden", 'thence alias data golden --note "checked by Ada"'],
    statuses=(4,),
)
@click.argument("ref")
@click.argument("alias_name", metavar="ALIAS")
@click.option("--note", metavar="TEXT", help="Why it moves.")
def alias(invocation: Invocation, *, ref: str, alias_name: str, note: str | None) -> None:
    """Point an alias at a version.

    An alias is a name that moves: champion, production. data@champion is then a ref. Its moves are
    kept: thence history NAME --aliases.
    """
    project = invocation.project()
    version = project.alias(ref, alias_name, note=note)
    output = invocation.output
    output.record(
        "alias", {"artifact": version.artifact, "alias": alias_name, "version": version.number}
    )
    output.done(f"{version.artifact}@{alias_name} is {version.ref} now")


@verb(
    "tag",
    examples=["thence tag data@v1 source=lab quality=raw", "thence tag data@v1 quality="],
    statuses=(4,),
)
@click.argument("ref")
@click.argument("tags", nargs=-1, required=True, type=PAIR, metavar="KEY=VALUE...")
def tag(invocation: Invocation, *, ref: str, tags: tuple[tuple[str, str], ...]) -> None:
    """Set or remove tags of a version or a run.

    KEY=VALUE sets a tag, KEY= removes it.
    """
    changes = {key: value or None for key, value in as_mapping(tags, "tag").items()}
    project = invocation.project()
    project.tag(ref, changes)
    found = project.show(ref)
    name = getattr(found, "ref", None) or f"run:{found.run}"
    output = invocation.output
    output.record("tags", {"ref": name, "tags": found.tags})
    shown = ", ".join(f"{key}={value}" for key, value in sorted(found.tags.items()))
    output.done(f"{name}: {shown or 'no tags'}")


@verb(
    "describe",
    examples=[
        'thence describe data "Daily sales of all shops"',
        "thence describe data --doc CARD.md",
        "thence describe data",
    ],
    statuses=(4,),
)
@click.argument("name")
@click.argument("text", required=False)
@click.option("--doc", metavar="FILE", help="Markdown: its card.")
def describe(invocation: Invocation, *, name: str, text: str | None, doc: str | None) -> None:
    """Say, or show, what an artifact is.

    TEXT is a sentence, the card a Markdown file: where it comes from, licence, owner, known limits.
    With neither, what was said before is shown.
    """
    project = invocation.project()
    says = text is not None or doc is not None
    found = project.describe(name, text, doc=doc) if says else project.artifact(name)
    output = invocation.output
    card = None
    if found.card is not None:
        card = project.site.vault.content.read(found.card).decode("utf-8", "replace")
    output.record("artifact", found, card_text=card)
    if says:
        what = [word for word, one in (("description", text), ("card", doc)) if one is not None]
        output.done(f"{found.name}: set the {' and the '.join(what)}")
    elif found.description is None and card is None:
        output.note(f'nothing is said of {found.name}: thence describe {found.name} "…"')
    else:
        output.data("\n\n".join(part for part in (found.description, card) if part))
