"""The page of a search: ``footseg report SEARCH``. What was found, by what it was found, and all trials.

Scores are of the validation split, by which trials are chosen: the page says so. What a figure is worth
(computed, measured, emulated) is said where it stands. The charts are page_plots.py's; what was found is
worked out by footseg.search.tables.
"""

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from footseg import run as runs
from footseg.benchmarks.pages import page
from footseg.benchmarks.pages.page import Tile
from footseg.benchmarks.pages.svg import number
from footseg.grouping import grouped
from footseg.run import duration
from footseg.search import goals, page_plots, records, space, tables
from footseg.search.page_plots import Drawing
from footseg.search.records import Trial
from footseg.search.tables import Results

HERE = Path(__file__).parent
# Where nothing is held against the score, so many of the best are shown with their commands.
BEST = 5
# Of a list of trials in a sentence.
NAMED = 12
# Of the best trial's options in the headline.
HEADLINE = 6


def write_search_page(folder: Path, out: Path, title: str = "footseg search") -> Path:
    """Write the page of the search in ``folder`` to ``out``; returns ``out``.

    Raises:
        FootsegError: it is not a search, or the disk is full.
    """
    results = tables.load(folder)
    drawn = Drawing.of(results)
    found: dict[str, Any] = {
        "front": _front(results),
        "parameters": list(filter(None, (page_plots.over(drawn, label) for label in results.labels))),
        "courses": page_plots.courses(drawn),
        "progress": page_plots.progress(drawn),
        "losses": _losses(results),
        "table": _table(drawn),
    }
    return page.write(
        HERE / "search.html.j2",
        out,
        title=title,
        headline=headline(results),
        lead=_lead(results),
        tiles=_tiles(results),
        parts=_parts(results, found),
        objective=drawn.objective,
        fronts=list(filter(None, (page_plots.front(drawn, name) for name in results.settings.against))),
        legend=drawn.legend(),
        parallel=page_plots.parallel(drawn),
        importance=page_plots.importance(results),
        unknown=[each.label.title for each in results.importance if each.share is None],
        below=drawn.below,
        nearest=_nearest(results),
        facts=_facts(results),
        commands=[f"footseg search --resume --out {shlex.quote(str(folder))}"],
        artifacts=[],
        **found,
    )


def _parts(results: Results, found: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Anchors and names of the sections that there are."""
    sections = [
        ("front", "The front" if results.settings.against else "The best", found["front"]["rows"]),
        ("parameters", "Parameters", found["parameters"]),
        ("time", "As it went", found["courses"] or found["progress"]),
        ("lost", "Not trained to the end", found["losses"]),
        ("trials", "All trials", found["table"]["rows"]),
    ]
    return [(anchor, name, "") for anchor, name, there in sections if there]


# --- words ---------------------------------------------------------------------------------------


def headline(results: Results) -> str:
    """The best trial, or what became of all where none has a score."""
    if not results.trials:
        return "No trial was drawn yet"
    if results.best is None:
        said = ", ".join(f"{count} {status}" for status, count in _counts(results.trials))
        return f"No trial has a score yet: {said}"
    best = results.by_number(results.best)
    score = goals.shown(results.settings.objective, results.score(best))
    title = goals.GOALS[results.settings.objective].title
    which = (
        f"is the best of {len(results.scored)}" if len(results.scored) > 1 else "is the only one with a score"
    )
    # Names and values stay on one line.
    options = _options(results, best, HEADLINE, "\N{NO-BREAK SPACE}")
    return f"Trial {best.number} {which}: {title} {score} with {options}"


def _lead(results: Results) -> str:
    settings = results.settings
    split = (
        "Scores are of the validation split, on which the trials were chosen: expect less on other "
        "photographs, and score the chosen one once on the test split."
    )
    against = " and ".join(goals.GOALS[name].title for name in settings.against)
    what = f"{settings.values.get('network', 'networks')}, {settings.algorithm}, seed {settings.seed}"
    aim = f"for the highest {goals.GOALS[settings.objective].title}"
    return (
        f"A search ({what}) {aim}"
        + (f" with the least {against}" if against else "")
        + (f" within {', '.join(settings.limits)}" if settings.limits else "")
        + f". {split}"
    )


def _options(results: Results, trial: Trial, most: int | None = None, space_: str = " ") -> str:
    words = [f"{name}{space_}{page_plots.value(value)}" for name, value in results.shown(trial).items()]
    more = f" and {len(words) - most} more options" if most and len(words) > most else ""
    return ", ".join(words[:most]) + more


def _counts(trials: Iterable[Trial]) -> list[tuple[str, int]]:
    """Statuses that occur, and of how many trials."""
    found = [trial.status for trial in trials]
    return [(status, found.count(status)) for status in (*records.ENDED, *records.OPEN) if status in found]


def _tiles(results: Results) -> list[Tile]:
    """What came of it and what it took."""
    trials = results.trials
    counts = dict(_counts(trials))
    tiles = []
    if results.best is not None:
        best = results.by_number(results.best)
        objective = results.settings.objective
        kind = f"trial {best.number}, measured on the validation split"
        tiles.append(
            Tile(goals.shown(objective, results.score(best)), "", goals.GOALS[objective].title, kind)
        )
    of = "of 1 trial" if len(trials) == 1 else f"of {len(trials)} trials"
    tiles.append(Tile(str(counts.pop("finished", 0)), "", "finished", of))
    if counts:
        others = ", ".join(f"{count} {status}" for status, count in counts.items())
        tiles.append(Tile(str(sum(counts.values())), "", "other trials", others))
    spent = tables.seconds(trials)
    value, _, unit = duration(spent).partition(" ")
    tiles.append(Tile(value, unit, "time of all trials", "one after the other, measured"))
    if saved := tables.seconds_saved(results.settings, trials):
        kind = f"about {duration(saved)}, estimated from the epochs that stopped trials did"
        tiles.append(Tile(f"{saved / (spent + saved):.0%}", "", "saved by stopping early", kind))
    return tiles


# --- the front -----------------------------------------------------------------------------------


def _front(results: Results) -> dict[str, Any]:
    """The trials to choose from, with their costs, parameters and commands."""
    settings = results.settings
    numbers = results.front if settings.against else [trial.number for trial in results.scored[:BEST]]
    chosen = [results.by_number(number) for number in numbers]
    names = [name for name in goals.COSTS if any(name in trial.costs for trial in chosen)]
    return {
        "heads": _heads(names),
        "rows": [
            {
                "number": trial.number,
                "best": trial.number == results.best,
                "options": _options(results, trial),
                "score": goals.shown(settings.objective, results.score(trial)),
                "stopped": f"stopped after epoch {trial.epochs_done}" if trial.status == "stopped" else "",
                "costs": [text for _, text in _figures(trial, names)],
                "commands": _commands(results, trial),
            }
            for trial in chosen
        ],
    }


def _heads(names: Sequence[str]) -> list[tuple[str, str]]:
    """Titles of scores and costs, and how they are known."""
    return [(goals.GOALS[name].title, goals.GOALS[name].known) for name in names]


def _figures(trial: Trial, names: Sequence[str]) -> list[tuple[Any, str]]:
    """Scores and costs to sort by and what is shown of them; "" for what is not known."""
    found = trial.scores | trial.costs
    return [(found[name], goals.shown(name, found[name])) if name in found else ("", "") for name in names]


def _commands(results: Results, trial: Trial) -> list[str]:
    """What to do with a trial's run."""
    run = shlex.quote(str(records.run_folder(results.folder, trial.number)))
    data = shlex.quote(str(results.settings.values.get("data", "DIR")))
    go_on = [f"footseg train --resume --out {run}"] if trial.status == "stopped" else []
    return [
        *go_on,
        f"footseg evaluate {run} --data {data} --split test",
        f"footseg export {run} --out export/{trial.name} --precision int8",
    ]


# --- what has no score ---------------------------------------------------------------------------


def _losses(results: Results) -> list[tuple[str, list[tuple[str, str]]]]:
    """What was not trained to its end, by status: the first of alike reasons, then whose it is."""
    found = []
    for status in ("failed", "refused", "stopped"):
        own = [trial for trial in results.trials if trial.status == status]
        # Reasons are alike where they differ in figures only.
        alike = grouped((re.sub(r"\d+(\.\d+)?", "#", trial.reason), trial) for trial in own)
        ranked = sorted(alike.values(), key=lambda trials: -len(trials))
        if ranked:
            found.append((status, [(_reason(trials), _listed(trials)) for trials in ranked]))
    return found


def _reason(trials: Sequence[Trial]) -> str:
    first = trials[0].reason or "no reason was recorded"
    return f"{first} (the first of {len(trials)} alike)" if len({t.reason for t in trials}) > 1 else first


def _listed(trials: Sequence[Trial]) -> str:
    words = ", ".join(str(trial.number) for trial in trials[:NAMED])
    more = f" and {len(trials) - NAMED} more" if len(trials) > NAMED else ""
    return f"trial{'s' if len(trials) > 1 else ''} {words}{more}"


def _nearest(results: Results) -> str:
    limits = tuple(goals.parse_limit(text) for text in results.settings.limits)
    return goals.nearest_miss(limits, results.trials) if limits else ""


# --- all trials ----------------------------------------------------------------------------------


def _table(drawn: Drawing) -> dict[str, Any]:
    """A row a trial, by score; those without one after them, by number."""
    results = drawn.results
    rest = [trial for trial in results.trials if trial.number not in drawn.kinds]
    names = [name for name in goals.GOALS if any(name in t.scores | t.costs for t in results.trials)]
    titles = [label.title for label in results.labels]
    heads = [*_heads(names), *((title, "") for title in titles), ("epochs", ""), ("time", "measured")]
    rows = [
        {
            "trial": trial,
            "kind": drawn.kinds.get(trial.number, trial.status),
            "cells": [*_figures(trial, names), *_own(results.shown(trial), titles), *_effort(trial)],
        }
        for trial in (*reversed(drawn.ordered), *rest)
    ]
    return {"heads": heads, "rows": rows}


def _own(shown: Mapping[str, Any], titles: Sequence[str]) -> list[tuple[Any, str]]:
    return [(shown[t], page_plots.value(shown[t])) if t in shown else ("", "") for t in titles]


def _effort(trial: Trial) -> list[tuple[Any, str]]:
    time = duration(trial.seconds) if trial.seconds else ""
    return [(trial.epochs_done, str(trial.epochs_done or "")), (trial.seconds, time)]


# --- provenance ----------------------------------------------------------------------------------


def _facts(results: Results) -> list[tuple[str, list[str]]]:
    """What was asked for and what it ran on."""
    settings = results.settings
    best = None if results.best is None else records.run_folder(results.folder, results.best)
    run = runs.load(best) if best and runs.exists(best) else None
    fixed = [f"{name} {page.word(value)}" for name, value in tables.chosen(settings).items()]
    found = {
        "space": [f"{label.title}: {_range(label)}{_where(results, label)}" for label in results.labels],
        "options of all trials": fixed,
        "algorithm": [f"{settings.algorithm}, seed {settings.seed}"],
        "objective": [goals.GOALS[settings.objective].title],
        "against": [f"{goals.GOALS[name].title} ({goals.GOALS[name].known})" for name in settings.against],
        "limits": list(settings.limits),
        "bad trials end by": [settings.stop],
        "data": [f"{settings.values.get('data', '')} {settings.data_fingerprint}".strip()],
        "best trial trained by": [f"{run.machine.get('cpu')}, {run.backend}"] if run and run.machine else [],
        "versions": [f"{package} {version}" for package, version in run.versions.items()] if run else [],
        "all figures": [str(results.folder / name) for name in (tables.CSV, tables.JSON)],
    }
    return [(name, values) for name, values in found.items() if values]


def _range(label: space.Label) -> str:
    parameter = label.parameter
    if isinstance(parameter, space.Choice):
        return " or ".join(branch.title for branch in parameter.branches)
    kinds = ("logarithmic" if parameter.log else "", "whole" if parameter.whole else "")
    step = f"in steps of {parameter.step:g}" if parameter.step else ""
    ends = f"{number(parameter.low)} to {number(parameter.high)}"
    return ", ".join(filter(None, (ends, *kinds, step)))


def _where(results: Results, label: space.Label) -> str:
    """Of a parameter that is not always there: with which choice it is."""
    if label.parent is None:
        return ""
    name, index = label.parent
    above = next(other for other in results.labels if other.name == name)
    chosen = above.parameter.branches[index].title if isinstance(above.parameter, space.Choice) else ""
    return f" (with {above.title} {chosen})"
