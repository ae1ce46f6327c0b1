"""Where a file runs: what each client, a runtime that apps have, makes of it, and how that is known."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from footseg.grouping import grouped
from footseg.terminal import aligned, counted, percent, wrapped

if TYPE_CHECKING:
    from footseg.verifications import Row  # brings numpy, which footseg --help does without

# What becomes of a file on a client. What runs wrongly gives masks, others than LiteRT's on the processor.
RUNS, IN_PART, WRONG, NOT, UNKNOWN = "runs", "runs in part", "runs wrongly", "does not run", "not known"
VERDICTS = (RUNS, IN_PART, WRONG, NOT, UNKNOWN)
# How it is known: the client ran this file, or rules looked at it.
CHECKED, COMPUTED = "checked", "computed"


@dataclass(frozen=True)
class Standing:
    """One client and one file.

    ``client`` is its name on the command line, ``title`` in tables. ``basis`` says how the ``verdict`` is
    known (both are among the words above; it is "not known" where the verdict is). ``why`` says all that is
    to be said beside them. ``operators`` counts those that stand against it, by kind. ``since`` is the oldest
    release that has all operators, as "2.3.0", for which ``asking`` ask ("TRANSPOSE_CONV 3"). ``equal`` is
    the share of pixels of the class that the file has on the processor, ``partitions`` in how many pieces a
    delegate runs the file and ``version`` that of the client, all where it ran.
    """

    client: str
    title: str
    verdict: str
    basis: str
    why: str = ""
    operators: Mapping[str, int] = field(default_factory=dict)
    since: str = ""
    asking: tuple[str, ...] = ()
    equal: float | None = None
    partitions: int | None = None
    version: str = ""

    @property
    def words(self) -> str:
        """All that is to be said beside the verdict, in one line."""
        since = f"from {released(self.since)} on, for {' and '.join(self.asking)}" if self.since else ""
        pieces = f"in {counted(self.partitions, 'partition')}" if self.partitions else ""
        return "; ".join(part for part in (since, pieces, self.why) if part)


def with_checked(standings: Sequence[Standing], rows: "Sequence[Row]") -> tuple[Standing, ...]:
    """The same, with what clients made of the file in the place of what was computed.

    What is simulated is no client's, and stays out; a client that was not asked keeps what was computed.
    """
    ran = {row.client: row for row in rows if row.status in ("ok", "failed", "not run") and not row.simulated}
    found = tuple(_checked(one, ran[one.client]) if one.client in ran else one for one in standings)
    known = {one.client for one in standings}
    new = (Standing(row.client, row.title, "", "") for row in ran.values() if row.client not in known)
    return (*found, *(_checked(one, ran[one.client]) for one in new))


def _checked(computed: Standing, row: "Row") -> Standing:
    verdict, why = RUNS, row.why
    if row.error:
        verdict = NOT
    elif row.failures:
        verdict = WRONG
    elif computed.verdict == WRONG and (row.equal_cpu or 0) < 1:
        # Rules know why, and a few images may show too little of it.
        verdict, why = WRONG, computed.why
    elif row.fallen:
        verdict, why = IN_PART, f"{row.fallen} operators on the CPU"
    return dataclasses.replace(
        computed,
        verdict=verdict,
        basis=CHECKED,
        why=why,
        operators={} if verdict == RUNS else computed.operators,
        equal=row.equal_cpu,
        version=row.version,
    )


def text(standings: Sequence[Standing], width: int) -> str:
    """A table for a terminal of ``width`` columns."""
    rows = [(one.title, one.verdict, _basis(one)) for one in standings]
    lines = aligned(("client", "verdict", "by"), rows, left=(0, 1, 2)).splitlines()
    column = max(map(len, lines)) + 2
    said = ("", *(one.words for one in standings))
    return "\n".join(
        wrapped(f"{line:<{column}}{why}".rstrip(), width, indent=column)
        for line, why in zip(lines, said, strict=True)
    )


def _basis(standing: Standing) -> str:
    equal = "" if standing.equal is None else f", {percent(standing.equal)}"
    return "" if standing.verdict == UNKNOWN else standing.basis + equal


def summary(standings: Iterable[Standing]) -> list[str]:
    """Where a file runs and where not, a line for each verdict; clients with one reason together."""
    lines = []
    rows = list(standings)
    for verdict in VERDICTS:
        found = [one for one in rows if one.verdict == verdict]
        reasons = grouped((_reason(one), one.title.replace(",", "")) for one in found)
        said = [", ".join(titles) + (f" ({why})" if why else "") for why, titles in reasons.items()]
        lines += [f"{verdict}: {'; '.join(said)}"] if said else []
    return lines


def _reason(standing: Standing) -> str:
    """What a summary says beside a client's name: of one that runs a file its release alone."""
    if standing.verdict != RUNS:
        return standing.words
    return dataclasses.replace(standing, why="", partitions=None).words


def released(version: str) -> str:
    """A release as one says it: "2.3" of "2.3.0"."""
    return version.removesuffix(".0")
