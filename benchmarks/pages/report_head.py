"""The report's headline and the large figures under it: true of every mix of kinds and places."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from footseg.benchmarks import figures, shown
from footseg.benchmarks.measurement import Measurement, Relative
from footseg.benchmarks.pages import page, report_plots
from footseg.benchmarks.pages.page import Tile
from footseg.benchmarks.pages.report_plots import Accuracy
from footseg.benchmarks.pages.report_tables import short_place
from footseg.benchmarks.shown import Shown
from footseg.evaluate import SavedEvaluation
from footseg.terminal import counted

# An artifact this much below the best IoU can still be the one to ship if it is faster: the loss that
# quantization is allowed. Of the images that were scored: evaluations tell no interval over images.
SHIPPABLE_LOSS = 0.01


@dataclass(frozen=True)
class Head:
    """The file that the page's first sentence is about, among those of its place, and what is known of it."""

    best: Measurement
    members: Sequence[Measurement]
    accuracy: Accuracy | None

    @classmethod
    def of(cls, groups: Sequence[Sequence[Measurement]], evaluated: Mapping[str, SavedEvaluation]) -> "Head":
        """Of the fastest file whose IoU is within SHIPPABLE_LOSS of the best; without IoUs the fastest.

        A phone's times are looked at before a host's, those before an emulator's counts, and of each the
        first in the results.
        """
        members = min(groups, key=lambda members: min(map(_rank, members)))
        accuracy = report_plots.accuracy(members, evaluated)
        ranked = [m for m in members if _rank(m) == min(map(_rank, members))]
        ious = {
            id(m): iou for m in ranked if accuracy and (iou := accuracy.of(m.artifact.sha256)) is not None
        }
        if ious:
            ranked = [m for m in ranked if ious.get(id(m), 0) >= max(ious.values()) - SHIPPABLE_LOSS]
        return cls(min(ranked, key=lambda m: _figure(m, members)), members, accuracy)

    @property
    def latency(self) -> Shown | None:
        """Of the file."""
        return shown.latency(self.best, self.members)

    @property
    def iou(self) -> float | None:
        """Of the file."""
        return self.accuracy.of(self.best.artifact.sha256) if self.accuracy else None

    def sentence(self, several: bool) -> str:
        """What it does; the device is named where the page shows ``several``, and where it was emulated."""
        best = self.best
        place = f" on {short_place(best)}" if several else ""
        words = [f"{best.artifact.name} segments an image"]
        if found := self.latency:
            about = "about " if found.how or found.noisy else ""
            words.append(f"in {about}{figures.ms(found.ms)}\u00a0ms{place}")
        elif count := best.instructions:
            millions = figures.millions(count.total)
            words.append(f"in {millions} million instructions of an emulated {short_place(best)}")
        else:
            words.append(f"with {figures.millions(best.cost['macs'])} million multiply-accumulates")
        if self.iou is not None:
            words.append(f"with an IoU of {self.iou:.3f}")
        words.append(f"from a file of {figures.mb(best.file_bytes)}\u00a0MB")
        return " ".join(words) + self._compared() + "."

    def _compared(self) -> str:
        """With the file that it was run in turns with."""
        found = self.best.relative
        if not found or not self.latency or found.to_sha256 == self.best.artifact.sha256:
            return ""
        # Its name without what is said of this one already.
        words = f": {_times(found, page.short_names([self.best.artifact.name, found.to])[1][1])}"
        base = self.accuracy.of(found.to_sha256) if self.accuracy else None
        if self.iou is not None and base is not None:
            difference = self.iou - base
            amount, way = f"{abs(difference):.4f}", "less" if difference < 0 else "more"
            words += f", {amount} {way} IoU" if float(amount) else ", the same IoU"
        return words

    def tiles(self) -> list[Tile]:
        """The same in large figures."""
        best, tiles = self.best, []
        if self.iou is not None and self.accuracy:
            tiles.append(
                Tile(f"{self.iou:.3f}", "IoU", "of the foreground, over all pixels", self.accuracy.words)
            )
        if found := self.latency:
            name = f"{'' if found.how else 'median '}latency, {counted(best.threads, 'thread')}"
            place = f"measured on {short_place(best)}{_doubts(best, found)}"
            tiles.append(Tile(figures.ms(found.ms), "ms", name, place))
        elif count := best.instructions:
            words = f"emulated on {short_place(best)}"
            tiles.append(Tile(figures.millions(count.total), "M", "instructions for one inference", words))
        return [
            *tiles,
            Tile(figures.mb(best.file_bytes), "MB", "file size", "computed"),
            Tile(figures.millions(best.cost["macs"]), "M MACs", "for one inference", "computed"),
        ]


def _times(found: Relative, other: str) -> str:
    if found.different is False:
        return f"its latency is not told apart from that of {other}"
    value, _ = figures.ratio_words(found.ratio, found.low, found.high)
    return f"{value} times the latency of {other}"


def _doubts(m: Measurement, found: Shown) -> str:
    """What is to be known of a latency, after where it was measured."""
    how = f"; its median was noisy, this is {found.how}" if found.how else ", noisy" if found.noisy else ""
    return how + (", throttled" if figures.throttled(m) else "")


def _rank(m: Measurement) -> int:
    if m.latency and m.kind == "measured":
        return 0 if m.on_phone else 1
    return 2 if m.instructions else 3


def _figure(m: Measurement, members: Sequence[Measurement]) -> float:
    """What makes one file better than another of the same rank: less time, fewer instructions, fewer MACs."""
    if found := shown.latency(m, members):
        return found.ms
    return m.instructions.total if m.instructions else m.cost["macs"]
