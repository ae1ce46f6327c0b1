"""The charts of a search's page, from its results: a trial is a mark or a line, the same in all of them."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from footseg.benchmarks.pages import bars, charts, page
from footseg.benchmarks.pages.charts import Curve, LimitLine, Mark
from footseg.benchmarks.pages.page import Plot, Responsive
from footseg.benchmarks.pages.svg import Scale, number
from footseg.grouping import grouped
from footseg.search import goals, page_charts, records, space
from footseg.search.records import Trial
from footseg.search.tables import Results

# Classes of scores, by fifths of the trials that have one.
SHADES = 5
# So many values of a range, or fewer, each have a slot of their own.
FEW = 12
# Large counts on an axis.
COUNTS = {"k": "thousands", "M": "millions", "G": "thousands of millions"}
# More lines than this are drawn thinner.
DENSE = 120
# Without a score for good.
LOST = ("refused", "failed")
# Radii of marks and of the best trial's; air at the ends of an axis for them.
RADIUS, BEST_RADIUS, INSET = 4.0, 5.5, 8.0


@dataclass(frozen=True)
class Drawing:
    """What all charts share: the order and the class of each trial, and the axis of scores.

    ``ordered`` are the trials with a score, the worst first, so that the best are drawn last. The ``below``
    trials whose scores are less than the axis holds are drawn at its lower edge.
    """

    results: Results
    ordered: tuple[Trial, ...]
    kinds: Mapping[int, str]
    y_range: tuple[float, float]
    below: int

    @classmethod
    def of(cls, results: Results) -> "Drawing":
        """Put the trials in order and in classes."""
        ordered = tuple(reversed(results.scored))
        if not ordered:
            return cls(results, (), {}, (0.0, 1.0), 0)
        kinds = {
            trial.number: "best" if trial.number == results.best else f"shade-{SHADES * i // len(ordered)}"
            for i, trial in enumerate(ordered)
        }
        scores = [results.score(trial) for trial in ordered]
        lowest, highest = floor(scores), max(scores)
        air = max(0.05 * (highest - lowest), 0.005)
        y_range = (max(0.0, lowest - air), min(1.0, highest + air))
        return cls(results, ordered, kinds, y_range, sum(score < y_range[0] for score in scores))

    @property
    def objective(self) -> str:
        """What the scores are, in words."""
        return goals.GOALS[self.results.settings.objective].title

    @property
    def lost(self) -> list[Trial]:
        """Trials that ended without a score."""
        found = [trial for trial in self.results.trials if trial.status in LOST]
        return sorted(found, key=lambda trial: LOST.index(trial.status))

    def title(self, trial: Trial) -> str:
        """What is told of a trial where it is pointed at."""
        told = f"{self.results.score(trial):.4f}" if trial.number in self.kinds else trial.status
        early = f", stopped after epoch {trial.epochs_done}" if trial.status == "stopped" else ""
        return f"{trial.number}: {told}{early}"

    def mark(self, trial: Trial, x: float, title: str = "") -> Mark:
        """A trial as a point over ``x``."""
        if trial.number not in self.kinds:
            why = f"{self.title(trial)}: {trial.reason}"
            return Mark(x, None, trial.status, title=why, trial=trial.number)
        kind = self.kinds[trial.number]
        early = " hollow" if trial.status == "stopped" else ""
        return Mark(
            x,
            self.results.score(trial),
            f"trial {kind}{early}",
            title=title or self.title(trial),
            radius=BEST_RADIUS if kind == "best" else RADIUS,
            trial=trial.number,
        )

    def curve(self, trial: Trial, values: Sequence[float], lines: int) -> Curve:
        """A trial as one of so many ``lines``: thinner among many, so that words between them can be read."""
        kind = self.kinds.get(trial.number, trial.status) + (" dense" if lines > DENSE else "")
        places = range(1, len(values) + 1)
        return Curve(places, values, kind, title=self.title(trial), trial=trial.number)

    def y_scale(self, title: str) -> Scale:
        """That of scores; what is below it is drawn at its lower edge."""
        return Scale(title, *self.y_range)

    def legend(self) -> list[tuple[str, str]]:
        """Classes and the scores in each, the best first."""
        ranked = reversed(self.ordered)
        found = grouped((self.kinds[trial.number], self.results.score(trial)) for trial in ranked)
        return [
            (kind, " to ".join(sorted({f"{end:.3f}" for end in (min(scores), max(scores))})))
            for kind, scores in found.items()
        ]


def floor(scores: Sequence[float]) -> float:
    """The least score worth a place on an axis: a few very bad ones would press all others together.

    Tukey's fence below the lower quartile, where anything is beyond it.
    """
    ordered = sorted(scores)
    low, high = ordered[len(ordered) // 4], ordered[(3 * len(ordered)) // 4]
    fence = low - 1.5 * max(high - low, 0.02)
    return next(score for score in ordered if score >= fence)


# --- the front -----------------------------------------------------------------------------------


def cost_scale(name: str, values: Sequence[float], short: bool = False) -> Scale:
    """How a cost lies along an axis: in round thousands; logarithmic where it spans more than a factor of 8.

    Its title is ``short`` where there is little room.
    """
    goal, largest = goals.GOALS[name], max(values)
    factor, prefix = (1.0, "") if goal.units is goals.MILLISECONDS else goals.thousands(largest)
    unit = {"bytes": f"{prefix}B", "ms": "ms"}.get(goal.unit, COUNTS.get(prefix, ""))
    title = ", ".join(filter(None, (goal.name if short else goal.title, unit)))
    title += "" if short else f" ({goal.known})"
    return Scale(title, min(values), largest, log=0 < 8 * min(values) < largest, factor=factor)


def front(drawn: Drawing, name: str) -> Plot | None:
    """The objective over one cost; None where it is known of fewer than two trials: a point is no plot."""
    known = [trial for trial in drawn.ordered if name in trial.costs]
    if len(known) < 2:
        return None
    results, values = drawn.results, [trial.costs[name] for trial in known]
    limits = [goals.parse_limit(text) for text in results.settings.limits]
    # A limit far from all trials would press them together.
    near = [limit.most for limit in limits if limit.name == name and limit.most <= 1.5 * max(values)]
    marks = [_of_front(drawn, trial, trial.costs[name]) for trial in known]
    marks.sort(key=lambda mark: ("off" not in mark.kind, "best" in mark.kind))
    points = [(mark.x, mark.y or 0.0) for mark in marks if mark.label]
    alone = len(results.settings.against) == 1
    return Plot(
        f"{drawn.objective[:1].upper()}{drawn.objective[1:]} against {goals.GOALS[name].title}",
        page.both(
            charts.scatter,
            marks,
            cost_scale(name, [*values, *near]),
            drawn.y_scale(drawn.objective),
            heights=(420, 330),
            stairs=[points[i] for i in charts.pareto(points)],
            limit=LimitLine(near[0], f"limit {goals.shown(name, near[0])}") if near else None,
            inset=2 * INSET,
        ),
        "Up and to the left is better. Numbered: the front, which no trial betters in score and "
        + ("this cost." if alone else "all costs together; the line is that of this cost alone.")
        + (" Hollow: stopped early." if any("hollow" in mark.kind for mark in marks) else ""),
    )


def _of_front(drawn: Drawing, trial: Trial, x: float) -> Mark:
    """Coloured by whether it is on the front, and there with its number."""
    on = trial.number in drawn.results.front
    kind = "best" if trial.number == drawn.results.best else "on" if on else "off"
    costs = [goals.shown(name, trial.costs[name]) for name in goals.COSTS if name in trial.costs]
    mark = drawn.mark(trial, x, "; ".join([drawn.title(trial), *costs]))
    kinds = mark.kind.replace(drawn.kinds[trial.number], kind)
    return dataclasses.replace(mark, kind=kinds, label=str(trial.number) if on else "")


# --- parameters ----------------------------------------------------------------------------------


def value(shown: float | str) -> str:
    """A parameter's value for people."""
    return number(shown, 3) if isinstance(shown, float) else str(shown)


def _scale(label: space.Label) -> Scale:
    """How a parameter lies along an axis: as the space draws it."""
    parameter = label.parameter
    if isinstance(parameter, space.Choice):
        return Scale(label.title, names=tuple(branch.title for branch in parameter.branches))
    few = parameter.count is not None and parameter.count <= FEW and not parameter.log
    low, high = parameter.ends if few else (parameter.low, parameter.high)
    step = (parameter.step or 1) if few else 0
    return Scale(label.title, low, high, log=parameter.log, whole=parameter.whole, step=step)


def parallel(drawn: Drawing) -> Responsive | None:
    """Parameters that are not always there first, so that most lines are whole from where they begin.

    None with fewer than two: a line alone is in no relation.
    """
    if len(drawn.ordered) < 2:
        return None
    labels = sorted(drawn.results.labels, key=lambda label: label.parent is None)
    costs = [
        name for name in drawn.results.settings.against if all(name in trial.costs for trial in drawn.ordered)
    ]
    scales = [
        *map(_scale, labels),
        *(cost_scale(name, [trial.costs[name] for trial in drawn.ordered], short=True) for name in costs),
        drawn.y_scale(drawn.objective),
    ]

    def values(trial: Trial) -> list[float]:
        varied = (trial.point.get(label.name, math.nan) for label in labels)
        return [*varied, *(trial.costs[name] for name in costs), drawn.results.score(trial)]

    lines = [drawn.curve(trial, values(trial), len(drawn.ordered)) for trial in drawn.ordered]
    upright = len(scales) <= page_charts.MOST_UPRIGHT
    return (
        Markup(page_charts.parallel(scales, lines, width=page.WIDE, upright=upright)),
        Markup(page_charts.parallel(scales, lines, width=page.NARROW, upright=False)),
    )


def over(drawn: Drawing, label: space.Label) -> tuple[str, Markup] | None:
    """The objective over one parameter and its title; None where fewer than two trials had it."""
    shown = {
        trial.number: value(drawn.results.shown(trial)[label.title])
        for trial in drawn.results.trials
        if label.name in trial.point
    }
    marks = [
        drawn.mark(trial, trial.point[label.name], f"{drawn.title(trial)}, {shown[trial.number]}")
        for trial in (*drawn.lost, *drawn.ordered)
        if trial.number in shown
    ]
    if len(marks) < 2:
        return None
    picture = charts.scatter(
        marks, _scale(label), drawn.y_scale(""), width=page.NARROW, height=210, inset=INSET
    )
    return label.title, Markup(picture)


def importance(results: Results) -> Responsive | None:
    """Bars of the parameters that enough trials had, the most important first."""
    known = [(each, each.share, each.chance or 0.0) for each in results.importance if each.share is not None]
    if not known:
        return None
    rows = [
        bars.Bar(
            each.label.title,
            ((share, "series-0" if share > chance else "part-2"),),
            f"{bars.share_of(share, 1)} of {each.trials} trials' variance",
            f"chance alone reaches {chance:.0%}",
        )
        for each, share, chance in sorted(known, key=lambda one: -one[1])
    ]
    return page.both(
        bars.bars,
        rows,
        width=720,
        name="Share of the variance of the scores' ranks that each parameter explains",
        # Where nothing explains anything, bars of nothing.
        longest=max(0.1, *(share for _, share, _ in known)),
        legend=(("more than chance", "series-0"), ("no more than chance", "part-2")),
    )


# --- over time -----------------------------------------------------------------------------------


def courses(drawn: Drawing) -> Plot | None:
    """Validation IoU of all trials by epoch; None where no epoch is done."""
    rest = [trial for trial in drawn.results.trials if trial.number not in drawn.kinds]
    known = [
        (trial, curve)
        for trial in (*rest, *drawn.ordered)
        if (curve := records.curve(drawn.results.folder, trial.number))
    ]
    if not known:
        return None
    highest = [max(curve) for _, curve in known]
    # Of where curves begin only as much as leaves most of the height to where they part.
    low, high = floor(highest), max(highest)
    low = max(0.0, low - max(high - low, 0.1))
    lines = [
        dataclasses.replace(
            drawn.curve(trial, curve, len(known)),
            label=str(trial.number) if trial.number == drawn.results.best else "",
            ends=trial.status == "stopped",
        )
        for trial, curve in known
    ]
    x = Scale("epoch", 1, max(2, *(len(curve) for _, curve in known)), whole=True)
    y = Scale(goals.GOALS["iou"].title, low, min(1.0, high + 0.05 * (high - low)))
    return Plot(
        "Learning curves",
        page.both(charts.curves, lines, x, y, heights=(420, 300)),
        "Each line is a trial; a dot is where one was stopped. What is lower is drawn at the lower edge.",
    )


def progress(drawn: Drawing) -> Plot | None:
    """Score of each trial and the best until then, by number; None with a score or none."""
    if len(drawn.ordered) < 2:
        return None
    best: list[tuple[float, float]] = []
    for trial in sorted(drawn.ordered, key=lambda trial: trial.number):
        score = max(drawn.results.score(trial), drawn.y_range[0])
        if not best or score > best[-1][1]:
            best.append((trial.number, score))
    marks = [drawn.mark(trial, trial.number) for trial in (*drawn.lost, *drawn.ordered)]
    scale = Scale("trial", 0, max(drawn.results.trials[-1].number, 1), whole=True)
    return Plot(
        "Best so far",
        page.both(
            charts.scatter,
            marks,
            scale,
            drawn.y_scale(drawn.objective),
            heights=(260, 240),
            stairs=best,
            inset=INSET,
        ),
        "The line is the best score of all trials up to then, in the order in which they were drawn.",
    )
