"""What a search found, for people and programs: results.csv, results.json, and what the page is made of."""

import csv
import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from footseg import files
from footseg.search import goals, importance, pareto, records, space
from footseg.search.importance import ParameterImportance
from footseg.search.records import SearchSettings, Trial
from footseg.search.space import Label, Space
from footseg.training import config

CSV, JSON = "results.csv", "results.json"
# Of results.json; one more when a key changes its meaning or goes.
VERSION = 1


@dataclass(frozen=True)
class Results:
    """A search's folder, read and put in order.

    ``front`` are the numbers of the trials that no other betters in the objective and all costs that it is
    held against, by falling score (without such costs the best, and those equal to it); ``best`` is the
    number of the trial with the highest score, None where none has one.
    """

    folder: Path
    settings: SearchSettings
    space: Space
    trials: tuple[Trial, ...]
    front: tuple[int, ...]
    best: int | None
    importance: tuple[ParameterImportance, ...]

    @property
    def labels(self) -> tuple[Label, ...]:
        """The parameters of the space."""
        return space.labels(self.space)

    @property
    def scored(self) -> list[Trial]:
        """Trials that can be compared, the best first; of equal ones the earlier."""
        return ranked(self.settings, self.trials)

    def score(self, trial: Trial) -> float:
        """The objective, in [0, 1], of a trial of ``scored``."""
        return trial.scores[self.settings.objective]

    def shown(self, trial: Trial) -> dict[str, float | int | str]:
        """The parameters of a trial by their titles, for people."""
        return dict(space.shown(self.space, trial.point))

    def by_number(self, number: int) -> Trial:
        """A trial."""
        return next(trial for trial in self.trials if trial.number == number)


def ranked(settings: SearchSettings, trials: Sequence[Trial]) -> list[Trial]:
    """Trials that can be compared, the best first; of equal ones the earlier."""
    name = settings.objective
    found = [t for t in trials if t.scored and math.isfinite(t.scores.get(name, math.nan))]
    return sorted(found, key=lambda trial: (-trial.scores[name], trial.number))


def load(folder: Path) -> Results:
    """Read the search in ``folder`` and work out what it found.

    Raises:
        FootsegError: it is not a search.
    """
    settings = goals.settings_of(folder)
    varied = space.read(settings.space)
    trials = tuple(records.load_trials(folder))
    results = Results(folder, settings, varied, trials, (), None, ())
    ordered = results.scored
    return dataclasses.replace(
        results,
        front=_front(settings, ordered),
        best=ordered[0].number if ordered else None,
        importance=tuple(importance.importance(varied, trials, settings.objective)),
    )


def write(folder: Path) -> None:
    """Write ``results.csv`` and ``results.json`` of the search in ``folder``, each atomically.

    Raises:
        FootsegError: it is not a search, or the disk is full.
    """
    results = load(folder)
    files.write_text(folder / CSV, as_csv(results))
    files.write_json(folder / JSON, as_json(results))


def rows(results: Results) -> list[dict[str, Any]]:
    """A row for each trial, by number: what it came to, then its parameters by title, then what it took.

    A figure that is not known and a parameter that was not active are "". A parameter with the title of one
    of our own columns ("size") has "option " before it.
    """
    figures = _figures(results)
    own = {"number", "status", "reason", "epochs_done", "seconds", "run", *figures}
    titles = {
        label.title: f"option {label.title}" if label.title in own else label.title
        for label in results.labels
    }
    return [_row(trial, results.shown(trial), figures, titles) for trial in results.trials]


def _row(
    trial: Trial, shown: Mapping[str, Any], figures: Sequence[str], titles: Mapping[str, str]
) -> dict[str, Any]:
    return {
        "number": trial.number,
        "status": trial.status,
        "reason": trial.reason,
        **{name: (trial.scores | trial.costs).get(name, "") for name in figures},
        **{column: shown.get(title, "") for title, column in titles.items()},
        "epochs_done": trial.epochs_done,
        "seconds": round(trial.seconds, 3),
        "run": f"{records.TRIALS}/{trial.name}",
    }


def as_csv(results: Results) -> str:
    """The rows under a line of names; "" where there is no trial."""
    text = io.StringIO()
    found = rows(results)
    if found:
        writer = csv.DictWriter(text, list(found[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(found)
    return text.getvalue()


def as_json(results: Results) -> dict[str, Any]:
    """All there is to know: what was asked for, each trial, and what follows from them.

    ``figures`` says what each score and cost is, and whether it was computed, measured or emulated.
    """
    return {
        "version": VERSION,
        "settings": dataclasses.asdict(results.settings),
        "figures": {
            name: {
                "title": goals.GOALS[name].title,
                "unit": goals.GOALS[name].unit,
                "known": goals.GOALS[name].known,
            }
            for name in _figures(results)
            if name in goals.GOALS
        },
        "best": results.best,
        "front": list(results.front),
        "importance": [_importance(each) for each in results.importance],
        "seconds": round(seconds(results.trials), 3),
        "seconds_saved": round(seconds_saved(results.settings, results.trials), 3),
        "trials": [
            {
                **dataclasses.asdict(trial),
                "parameters": results.shown(trial),
                "run": f"{records.TRIALS}/{trial.name}",
            }
            for trial in results.trials
        ],
    }


def epochs_of(settings: SearchSettings, trial: Trial) -> int:
    """The epochs that a trial was to have."""
    asked = settings.values | trial.values
    return int(asked.get("epochs", config.TrainConfig.epochs))


def chosen(settings: SearchSettings) -> dict[str, Any]:
    """The training options that do not vary and are not what they are by default."""
    usual = dataclasses.asdict(config.TrainConfig())
    return {
        name: value
        for name, value in settings.values.items()
        if (tuple(value) if isinstance(value, list) else value) != usual.get(name)
    }


def seconds(trials: Sequence[Trial]) -> float:
    """Time of all trials together, as if one had run after the other."""
    return sum(trial.seconds for trial in trials)


def seconds_saved(settings: SearchSettings, trials: Sequence[Trial]) -> float:
    """What the trials that were stopped would have taken on to their ends, by their own seconds an epoch."""
    return sum(
        trial.seconds * max(0, epochs_of(settings, trial) - trial.epochs_done) / trial.epochs_done
        for trial in trials
        if trial.status == "stopped" and trial.epochs_done
    )


def losses(settings: SearchSettings, trial: Trial) -> tuple[float, ...]:
    """What of a trial is to be small: 1 - score, then the costs that it is held against."""
    return (1 - trial.scores[settings.objective], *(trial.costs[name] for name in settings.against))


def _front(settings: SearchSettings, ordered: Sequence[Trial]) -> tuple[int, ...]:
    known = [
        trial
        for trial in ordered
        if all(math.isfinite(trial.costs.get(name, math.nan)) for name in settings.against)
    ]
    on = pareto.front([losses(settings, trial) for trial in known])
    return tuple(trial.number for trial, is_on in zip(known, on, strict=True) if is_on)


def _figures(results: Results) -> tuple[str, ...]:
    """Scores and costs that any trial has or that were asked for, in the order of ``goals``."""
    settings = results.settings
    wanted = {settings.objective, *settings.against}
    found = wanted.union(*(trial.scores.keys() | trial.costs.keys() for trial in results.trials))
    known = [name for name in goals.GOALS if name in found]
    return (*known, *sorted(found - set(known)))


def _importance(each: ParameterImportance) -> dict[str, Any]:
    return {
        "label": each.label.name, "title": each.label.title, "share": each.share, "chance": each.chance,
        "trials": each.trials,
    }  # fmt: skip
