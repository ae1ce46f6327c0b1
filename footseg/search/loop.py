"""``footseg search``: asks for points, hands them to workers, and keeps the books."""

import dataclasses
import math
import shlex
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from footseg import provenance
from footseg.errors import FootsegError, check_known
from footseg.search import costs, goals, pareto, records, space, stopping, suggest, tables
from footseg.search.records import Point, SearchSettings, Trial
from footseg.search.workers import Feed

# So many points refused one after another, and the search is over: the limits leave next to nothing.
REFUSALS = 200
# So many are refused before the first is let in, and the nearest is told: it may be the limit that is wrong.
WARNING = 20
# So many trials fail for one reason before one is trained, and the search is over: it is not their points.
FAILURES = 10


class SearchInterruptedError(FootsegError):
    """Ctrl-C: all trials are whole and can go on."""

    interrupted = True


class View(Protocol):
    """What is told of a search as it goes on."""

    def began(self, trials: Sequence[Trial]) -> None:
        """Before the first trial; ``trials`` are those of earlier commands."""
        ...

    def ended(self, trial: Trial, trials: Sequence[Trial]) -> None:
        """One trial has its end."""
        ...

    def tick(self, trials: Sequence[Trial]) -> None:
        """A few times a second."""
        ...

    def done(self) -> None:
        """No trial runs any more."""
        ...


@dataclass(frozen=True)
class SearchBudget:
    """When to stop: ``trials`` in the folder (refused ones not counted), ``minutes`` of this command."""

    trials: int | None = 100
    minutes: float | None = None


def check(settings: SearchSettings, budget: SearchBudget) -> None:
    """Refuse what is wrong with a search before anything of it is made.

    Raises:
        ValueError: an unknown algorithm, score, cost or rule (the nearest is suggested), a limit that cannot
            be read, an empty budget.
    """
    for kind, given, known in (
        ("algorithm", settings.algorithm, suggest.ALGORITHMS),
        ("objective", settings.objective, goals.SCORES),
        ("rule to stop trials by", settings.stop, stopping.RULES),
    ):
        check_known(f"no {kind}", given, known)
    goals.costs_in_order(wanted(settings))
    if budget.trials is not None and budget.trials < 1:
        raise ValueError(f"trials is {budget.trials}: it must be 1 or more")
    if budget.minutes is not None and not budget.minutes > 0:
        raise ValueError(f"minutes is {budget.minutes}: it must be more than 0")


def check_resumable(folder: Path) -> None:
    """Make sure that there is a search to go on with.

    Raises:
        FootsegError: there is none.
    """
    if not records.exists(folder):
        raise FootsegError(f"{folder} holds no search to resume: leave --resume out to begin one")


def begin(folder: Path, asked: SearchSettings, given: Iterable[str], *, resume: bool) -> SearchSettings:
    """The settings of the search in ``folder``: written now, or those it was begun with.

    ``given`` names the settings and training options that the command line gave: on ``resume`` they may only
    repeat what was asked for in the beginning.

    Raises:
        FootsegError: something stands in the way, nothing to resume, another search, or changed data.
        ValueError: an option that the search was not begun with.
    """
    if not records.exists(folder):
        if folder.exists() and (not folder.is_dir() or any(map(_strange, folder.iterdir()))):
            raise FootsegError(f"{folder} holds files that no search made: choose another --out")
        if resume:
            check_resumable(folder)
        records.save_settings(folder, asked)
        return asked
    if not resume:
        raise FootsegError(
            f"{folder} is a search: go on with --resume (and --trials for more), or choose another --out"
        )
    before = goals.settings_of(folder)
    for name in given:
        was, now = _setting(before, name), _setting(asked, name)
        if was != now:
            raise ValueError(
                f"{folder} is another search: it was begun with {name} = {_short(was)}, not {_short(now)}; "
                "leave the option out to resume it, or choose another --out"
            )
    if asked.data_fingerprint != before.data_fingerprint:
        raise FootsegError(
            f"the files in {before.values['data']} are not those that {folder} was begun with: restore them, "
            "or begin a new search"
        )
    return before


def _strange(path: Path) -> bool:
    """Whether a file is none that a kill left of a search's first: half-written settings."""
    return not path.name.startswith(f".{records.SETTINGS}.")


def search(
    folder: Path,
    settings: SearchSettings,
    budget: SearchBudget,
    *,
    work: Callable[[Feed], None],
    view: View,
    say: Callable[[str], None],
) -> list[Trial]:
    """Draw points and have them trained until the budget is spent; returns all trials of the folder.

    Whoever calls holds ``records.lock``. Trials that an earlier command left open go on first. ``work`` is
    ``workers.run_local`` or ``spark.run_spark``, with their own arguments filled in.

    Raises:
        FootsegError: nothing meets the limits, no trial can be trained, or what goes wrong for every trial (a
            full disk).
        SearchInterruptedError: Ctrl-C.
    """
    costs.check(wanted(settings))
    books = Books(folder, settings, budget, say)
    until = math.inf if budget.minutes is None else time.monotonic() + 60 * budget.minutes
    view.began(books.trials)

    def ended(number: int) -> None:
        view.ended(books.close(number), books.trials)

    def crashed(number: int, reason: str) -> None:
        books.fail(number, reason)
        ended(number)

    try:
        work(Feed(folder, books.next_trial, ended, crashed, lambda: view.tick(books.trials), until))
    except KeyboardInterrupt:
        raise SearchInterruptedError(
            f"stopped with {_count(books.ended)} done and {len(books.open)} to go on; go on with: "
            f"footseg search --resume --out {shlex.quote(str(folder))}"
        ) from None
    finally:
        view.done()
        tables.write(folder)
    if books.barren:
        raise FootsegError(goals.nearest_miss(books.limits, books.trials))
    if books.dried_up:
        say(f"the last {REFUSALS} points were all over the limits: no more are drawn")
    if books.failing:
        raise FootsegError(
            f"none of {_count(books.ended)} could be trained; the last because: {books.ended[-1].reason}; "
            f"their records are in {folder / records.TRIALS}"
        )
    return books.trials


class Books:
    """All trials of a search, and which comes next."""

    def __init__(
        self, folder: Path, settings: SearchSettings, budget: SearchBudget, say: Callable[[str], None]
    ) -> None:
        """Read what is in ``folder``."""
        self.folder, self.settings, self.budget, self.say = folder, settings, budget, say
        self.space = space.parse(settings.space, settings.values)
        self.limits = tuple(goals.parse_limit(text) for text in settings.limits)
        self._trials = {trial.number: trial for trial in records.load_trials(folder)}
        self._waiting = [trial.number for trial in self.open]
        self._exhausted = self._warned = False
        self._failed: list[str] = []  # the reasons of this command's
        self._refused = 0  # points of this command, one after another

    @property
    def trials(self) -> list[Trial]:
        """All, by number."""
        return [self._trials[number] for number in sorted(self._trials)]

    @property
    def open(self) -> list[Trial]:
        """Those without an end."""
        return [trial for trial in self.trials if trial.status in records.OPEN]

    @property
    def ended(self) -> list[Trial]:
        """Those that are trained or failed."""
        return [trial for trial in self.trials if trial.counts]

    @property
    def barren(self) -> bool:
        """Whether points were drawn and not one of them met the limits."""
        return bool(self._trials) and all(trial.status == "refused" for trial in self.trials)

    @property
    def dried_up(self) -> bool:
        """Whether the last points were all over the limits."""
        return self._refused >= REFUSALS

    @property
    def failing(self) -> bool:
        """Whether trials have their end and every one failed."""
        return bool(self.ended) and all(trial.status == "failed" for trial in self.ended)

    def next_trial(self) -> int | None:
        """The number of the next trial to work on, its point written down; None: nothing more for now."""
        if self._waiting:
            return self._waiting.pop(0)
        if self._exhausted or self._spent():
            return None
        number = max(self._trials, default=-1) + 1
        try:
            point = suggest.suggest(
                self.space,
                self.settings.algorithm,
                told(self.settings, self.trials),
                [trial.point for trial in self.trials],
                (self.settings.seed, number),
            )
        except suggest.ExhaustedError as error:
            self._exhausted = True
            self.say(f"{error}; nothing is left to try")
            return None
        values = space.values(self.space, point)
        trial = Trial(number, dict(point), values, created=provenance.now())
        records.save_trial(self.folder, trial)
        self._trials[number] = trial
        return number

    def close(self, number: int) -> Trial:
        """Take up what became of a trial, and write the tables anew."""
        trial = self._trials[number] = records.load_trial(self.folder, number)
        tables.write(self.folder)
        self._refused = self._refused + 1 if trial.status == "refused" else 0
        if trial.status == "failed":
            self._failed.append(trial.reason)
        if self.barren and len(self._trials) >= WARNING and not self._warned:
            self._warned = True
            self.say(f"{goals.nearest_miss(self.limits, self.trials)}; going on to {REFUSALS} points")
        return trial

    def fail(self, number: int, reason: str) -> None:
        """Write down that a trial ended without having said why."""
        trial = records.load_trial(self.folder, number)
        if trial.status in records.OPEN:  # else its process died with all done
            records.save_trial(self.folder, dataclasses.replace(trial, status="failed", reason=reason))

    def _spent(self) -> bool:
        if self.dried_up or self._hopeless():
            return True
        counted = len(self.ended) + len(self.open)
        return self.budget.trials is not None and counted >= self.budget.trials

    def _hopeless(self) -> bool:
        return self.failing and len(self._failed) >= FAILURES and len(set(self._failed)) == 1


def told(settings: SearchSettings, trials: Sequence[Trial]) -> list[tuple[Point, float]]:
    """What the algorithm is told: points and losses, to be small.

    With one goal the loss is 1 - score. With several it is the rank among all trials (``pareto.ranks``), so
    that the algorithm draws near the front. Points that failed or were refused are told as the worst:
    hyperopt would forget them, and draw there again. Until a first trial has a score, those refused are told
    by how far they are over the limits, so that the algorithm draws nearer.
    """
    scored = [trial for trial in trials if trial.scored]
    rows = [tables.losses(settings, trial) for trial in scored]
    ranked = pareto.ranks(rows) if settings.against else [row[0] for row in rows]
    worst = max(ranked, default=0.0) + 1 if settings.against else 1.0
    bad = [trial for trial in trials if trial.status in ("failed", "refused")]
    limits = () if scored else tuple(map(goals.parse_limit, settings.limits))
    pairs = [
        *zip(scored, ranked, strict=True),
        *((t, goals.distance(limits, t) if limits and t.status == "refused" else worst) for t in bad),
    ]
    return [(trial.point, loss) for trial, loss in sorted(pairs, key=lambda pair: pair[0].number)]


def wanted(settings: SearchSettings) -> tuple[str, ...]:
    """The costs that a search needs to know, for its limits or its front."""
    limited = [goals.parse_limit(text).name for text in settings.limits]
    return tuple(dict.fromkeys([*settings.against, *limited]))


def _setting(settings: SearchSettings, name: str) -> Any:
    values = dataclasses.asdict(settings)
    return values[name] if name in values else settings.values.get(name)


def _short(value: Any, most: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _count(trials: Sequence[Trial]) -> str:
    return "1 trial" if len(trials) == 1 else f"{len(trials)} trials"
