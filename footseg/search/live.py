"""What a search shows as it goes on: a table in a terminal, a line a trial elsewhere."""

import shlex
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from footseg.run import duration
from footseg.search import goals, records, space, tables
from footseg.search.records import SearchSettings, Trial
from footseg.terminal import table

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from footseg.search.loop import SearchBudget

# Seconds between two looks at the running trials' files.
REFRESH = 1.0
# Trials of the table of the best.
BEST = 5


class Lines:
    """A line for each trial that ends: for logs."""

    def __init__(self, settings: SearchSettings, say: Callable[[str], None]) -> None:
        """``say`` takes the lines."""
        self._settings, self._say = settings, say
        self._space = space.read(settings.space)

    def began(self, trials: Sequence[Trial]) -> None:
        """Say what earlier commands left."""
        if trials:
            self._say(f"{summary(trials, 'to go on')} from before")

    def ended(self, trial: Trial, trials: Sequence[Trial]) -> None:
        """One line."""
        self._say(line(self._settings, self._space, trial, trials))

    def tick(self, trials: Sequence[Trial]) -> None:
        """Nothing."""

    def done(self) -> None:
        """Nothing."""


class LiveTable:
    """The running trials, the best so far, what is done and the time left; needs a terminal."""

    def __init__(self, settings: SearchSettings, folder: Path, budget: "SearchBudget") -> None:
        """``budget`` is for the time left."""
        from rich.console import Console
        from rich.live import Live

        self._settings, self._folder, self._budget = settings, folder, budget
        self._space = space.read(settings.space)
        self._began, self._looked, self._before = time.monotonic(), 0.0, 0
        # Standard output is for what the command found: it may be a file.
        self._live = Live(console=Console(stderr=True), refresh_per_second=4, transient=True)

    def began(self, trials: Sequence[Trial]) -> None:
        """Take the terminal."""
        self._before = sum(trial.counts for trial in trials)
        self._live.start()

    def ended(self, trial: Trial, trials: Sequence[Trial]) -> None:
        """Draw anew, and leave the trial's line above the table."""
        self._live.console.print(line(self._settings, self._space, trial, trials), highlight=False)
        self._looked = 0.0
        self.tick(trials)

    def tick(self, trials: Sequence[Trial]) -> None:
        """Draw anew, once a second."""
        if time.monotonic() - self._looked < REFRESH:
            return
        self._looked = time.monotonic()
        self._live.update(self._drawn(trials))

    def done(self) -> None:
        """Give the terminal back."""
        self._live.stop()

    def _drawn(self, trials: Sequence[Trial]) -> "Group":
        from rich.console import Group
        from rich.text import Text

        head = [summary(trials), f"{duration(time.monotonic() - self._began)} so far"]
        if (left := self._left(trials)) is not None:
            head.append(f"about {duration(left)} left")
        shown = [table for table in (self._running(trials), self._best(trials)) if table.row_count]
        return Group(Text(", ".join(head), style="bold"), *shown)

    def _left(self, trials: Sequence[Trial]) -> float | None:
        so_far, done = time.monotonic() - self._began, sum(trial.counts for trial in trials) - self._before
        left = [60 * self._budget.minutes - so_far] if self._budget.minutes is not None else []
        if self._budget.trials is not None and done:
            left.append(so_far / done * (self._budget.trials - self._before - done))
        return max(0.0, min(left)) if left else None

    def _running(self, trials: Sequence[Trial]) -> "Table":
        rows = []
        for trial in (t for t in trials if t.status in records.OPEN):
            curve = records.curve(self._folder, trial.number)
            of = tables.epochs_of(self._settings, trial)
            best = f"{max(curve):.4f}" if curve else "-"
            rows.append((trial.name, f"{len(curve)}/{of}", best, options(self._space, trial)))
        return _table("running", ("trial", "epoch", "IoU", "options"), rows)

    def _best(self, trials: Sequence[Trial]) -> "Table":
        found = tables.ranked(self._settings, trials)[:BEST]
        return _table("best so far", *_heads_and_rows(self._settings, self._space, found))


def conclusion(
    settings: SearchSettings, folder: Path, trials: Sequence[Trial], front: Collection[int]
) -> str:
    """The best trials, the front, and what to do with them."""
    left, quoted = summary(trials, "to go on"), shlex.quote(str(folder))
    open_ = any(trial.status in records.OPEN for trial in trials)
    resume = [f"go on:  footseg search --resume --out {quoted}"] if open_ else []
    ranked = tables.ranked(settings, trials)
    if not ranked:
        return "\n".join([f"{folder}: {left}; the records in {folder / records.TRIALS} say why", *resume])
    chosen = [trial for trial in ranked if trial.number in front] if settings.against else ranked[:BEST]
    what = "on the front" if settings.against else "best"
    run = records.run_folder(folder, chosen[0].number)
    return "\n".join(
        [
            f"{folder}: {left}; {what}:",
            table(*_heads_and_rows(settings, space.read(settings.space), chosen)),
            f"page:   footseg report {quoted} --out search.html",
            f"export: footseg export {shlex.quote(str(run))} --out artifacts --precision fp32 int8",
            *resume,
        ]
    )


def _heads_and_rows(
    settings: SearchSettings, space_: space.Space, trials: Sequence[Trial]
) -> tuple[tuple[str, ...], list[list[str]]]:
    """Of a table of trials with a score."""
    names = (settings.objective, *settings.against)
    rows = [
        [t.name, *(goals.shown(name, (t.scores | t.costs)[name]) for name in names), options(space_, t)]
        for t in trials
    ]
    return ("trial", *(goals.GOALS[name].title for name in names), "options"), rows


def line(settings: SearchSettings, space_: space.Space, trial: Trial, trials: Sequence[Trial]) -> str:
    """What became of one trial, in one line."""
    words = [f"{trial.name} {trial.status:<8}"]
    if trial.scored:
        words.append(f"{goals.SCORES[settings.objective].title} {trial.scores[settings.objective]:.4f}")
        words += [f"{goals.COSTS[n].title} {goals.shown(n, trial.costs[n])}" for n in settings.against]
        first = tables.ranked(settings, trials)[0]
        words.append(f"(best {first.scores[settings.objective]:.4f}, {first.name})")
    words.append(options(space_, trial))
    if trial.seconds:
        words.append(f"{trial.seconds:.0f} s")
    if trial.reason:
        words.append(f"- {trial.reason}")
    return "  ".join(words)


def options(space_: space.Space, trial: Trial) -> str:
    """What is special about a trial."""
    return "  ".join(f"{title} {_value(value)}" for title, value in space.shown(space_, trial.point).items())


def summary(trials: Sequence[Trial], opened: str = "running") -> str:
    """How many trials there are of each kind; those without an end are ``opened``."""
    counts = {status: sum(t.status == status for t in trials) for status in (*records.OPEN, *records.ENDED)}
    counts = {opened: counts.pop("drawn") + counts.pop("running"), **counts}
    parts = [f"{count} {status}" for status, count in counts.items() if count]
    return ", ".join(parts) or "no trial yet"


def _value(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", box=None, pad_edge=False, expand=False)
    for head in heads:
        # In a narrow terminal the options are cut, and nothing else: rich narrows what may be wrapped.
        justify: Literal["left", "right"] = "left" if head in {"trial", "options"} else "right"
        table.add_column(head, justify=justify, no_wrap=head != "options")
    for *cells, last in rows:
        table.add_row(*cells, Text(last, no_wrap=True, overflow="ellipsis"))
    return table
