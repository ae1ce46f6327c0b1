"""Where files run, as a table for a page: a row for each client, a column for each file."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from footseg.artifact import Artifact
from footseg.benchmarks.pages import page
from footseg.clients import RUNS, UNKNOWN, Standing, released, with_checked
from footseg.grouping import grouped
from footseg.terminal import percent
from footseg.verifications import Row


@dataclass(frozen=True)
class Verdict:
    """What stands in a cell: a verdict, how it is known ``below`` it, and how much it is to be looked at."""

    text: str = ""
    below: str = ""
    weight: str = "none"


@dataclass(frozen=True)
class Where:
    """The table, and why files do not run: (clients, a sentence).

    Its columns are ``files``, with short and whole names; its rows (client, its cells).
    """

    files: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, tuple[Verdict, ...]], ...]
    notes: tuple[tuple[str, str], ...]


def where(artifacts: Iterable[Artifact], checked: Mapping[str, Sequence[Row]]) -> Where | None:
    """Clients by files, by their sidecars, and by what was ``checked`` of a file (SHA-256) instead.

    None where nothing is known of any file.
    """
    known = {one.sha256: one for one in artifacts if one.clients or one.sha256 in checked}
    if not known:
        return None
    found = [
        {one.client: one for one in with_checked(artifact.clients, checked.get(sha256, ()))}
        for sha256, artifact in known.items()
    ]
    titles = {client: one.title for file in found for client, one in file.items()}
    names = [artifact.name for artifact in known.values()]
    _, heads = page.short_names(names)
    said = (
        ((one.words, one.title), head)
        for head, file in zip(heads, found, strict=True)
        for one in file.values()
        if one.words and one.verdict != RUNS
    )
    return Where(
        tuple(zip(heads, names, strict=True)),
        tuple(
            (title, tuple(_verdict(file.get(client)) for file in found)) for client, title in titles.items()
        ),
        tuple(_notes(grouped(said), len(heads))),
    )


def _verdict(standing: Standing | None) -> Verdict:
    if standing is None:
        return Verdict()
    if standing.verdict == UNKNOWN:
        return Verdict(UNKNOWN)
    since = f"from {released(standing.since)} on" if standing.since else ""
    equal = percent(standing.equal) if standing.equal is not None else ""
    below = ", ".join(part for part in (since, standing.basis, equal) if part)
    return Verdict(standing.verdict, below, "" if standing.verdict == RUNS else "warning")


def _notes(said: Mapping[tuple[str, str], Sequence[str]], files: int) -> Iterator[tuple[str, str]]:
    """Each reason once, behind the clients that have it, with their files where these are not all."""
    for (why, heads), titles in grouped(
        ((why, tuple(heads)), title) for (why, title), heads in said.items()
    ).items():
        of = "" if len(heads) == files else f" ({', '.join(heads)})"
        yield "; ".join(titles) + of, why
