"""The thesis's tables with ours beside them, as Markdown and CSV, and the text on what holds."""

import csv
import io
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from footseg.reproduce.claims import Claim
from footseg.reproduce.results import MEASURES, THESIS, THESIS_SIZE, NetworkResult
from footseg.reproduce.settings import FOLDERS, ReproductionSettings, changed
from footseg.reproduce.steps import PRECISIONS, STUDENTS, TEACHER, taught

Cell = str | float | None


@dataclass(frozen=True)
class ThesisTable:
    """A table: ``heads`` and for each head the format of its numbers, ``rows`` of raw values, ``notes``."""

    title: str
    heads: tuple[str, ...]
    formats: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()

    def to_csv(self) -> str:
        """Heads and rows, numbers as they are; an empty cell where there is none."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.heads)
        writer.writerows(self.rows)
        return text.getvalue()

    def to_markdown(self) -> str:
        """The table with aligned columns, its title above and its notes below."""
        cells = [
            [_shown(value, how) for value, how in zip(row, self.formats, strict=True)] for row in self.rows
        ]
        widths = [max(3, *map(len, column)) for column in zip(self.heads, *cells, strict=True)]
        rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
        lines = [_line(row, widths) for row in ([*self.heads], rule, *cells)]
        return "\n".join([f"### {self.title}", "", *lines, *(f"\n{note}" for note in self.notes)])


def computed(results: Sequence[NetworkResult]) -> ThesisTable:
    """FLOPs and size of Table 4.1: computed, not measured."""
    heads = (
        "Model", "FLOPs [B], thesis", "FLOPs [B], same rule", "2 x MACs [B]", "MACs [B]",
        "size [Mb], thesis", "weights fp32 [MB]", "parameters", "file fp32 [MB]", "file int8 [MB]",
    )  # fmt: skip
    rows = tuple(
        (
            r.title,
            _thesis(r, "flops"),
            r.figures.flops,
            r.cost["flops"] / 1e9,
            r.cost["macs"] / 1e9,
            _thesis(r, "size_mb"),
            r.figures.size_mb,
            r.cost["parameters"],
            *(_megabytes(r.files[precision]) for precision in PRECISIONS),
        )
        for r in results
    )
    notes = (
        f"All at {THESIS_SIZE}x{THESIS_SIZE} and two classes. The same rule is that of TensorFlow's "
        "benchmark_model of 2018, which the thesis used: 2 x MACs of ordinary convolutions, nothing for "
        "transposed and depthwise ones. The thesis's Mb are 10^6 bytes of fp32 weights.",
        *_refusals(results),
    )
    formats = ("", ".3g", ".3f", ".3f", ".3f", ".3g", ".2f", ",", ".2f", ".2f")
    return ThesisTable("Table 4.1, FLOPs and size (computed)", heads, formats, rows, notes)


def measured(results: Sequence[NetworkResult], made_on: Mapping[str, Any]) -> ThesisTable:
    """Inference time of Table 4.1: the thesis's on its phone, ours on this host, each in its own columns."""
    host, size = made_on["latency_on"], made_on["settings"]["size"]
    heads = (
        "Model", "phone, thesis [ms]", "phone, ratio", "host fp32 [ms]", "host fp32, ratio", "host int8 [ms]",
        "host int8, ratio",
    )  # fmt: skip
    fast = THESIS["fast_linknet"].latency_ms
    assert fast is not None
    rows = tuple(
        (
            r.title,
            phone := _thesis(r, "latency_ms"),
            None if phone is None else phone / fast,
            *(r.files[p].get(figure) for p in PRECISIONS for figure in ("latency_ms", "ratio")),
        )
        for r in results
    )
    noisy = [
        f"{r.title} {precision} ({file['spread']:.0%})"
        for r in results
        for precision, file in r.files.items()
        if file.get("noisy")
    ]
    threads = f"{host['threads']} thread" + ("s" if host["threads"] > 1 else "")
    notes = (
        f"Phone: ZTE Axon 7, {THESIS_SIZE}x{THESIS_SIZE}. Host: {host['cpu']} ({host['cores']} cores, "
        f"{host['system']}), {host['runtime']}, {threads}, {size}x{size}, median of the runs. A host is no "
        "phone: compare ratios, not times. Ratios are over FastLinkNet on the phone and over "
        f"{results[-1].title} in fp32 on the host, there with the two run in turns.",
        *([f"Noisy, by the middle half of the runs over the median: {', '.join(noisy)}."] if noisy else []),
    )
    formats = ("", ",.0f", ".1f", ".2f", ".2f", ".2f", ".2f")
    return ThesisTable("Table 4.1, inference time (measured)", heads, formats, rows, notes)


def accuracy(results: Sequence[NetworkResult], made_on: Mapping[str, Any]) -> ThesisTable:
    """Table 4.2."""
    names = ("test accuracy", "test IoU", "real accuracy", "real IoU")
    heads = ["Model"]
    for name in names:
        heads += [f"{name}, thesis", "ours"]
    more = ("test IoU, mean over images", "real IoU, mean over images", "real IoU, int8 file")
    rows = tuple(
        (
            r.title,
            *(value for m in MEASURES for value in (_thesis(r, m), getattr(r.figures, m))),
            r.accuracy["composited"]["iou_per_image"],
            r.accuracy["real"]["iou_per_image"],
            r.accuracy["real_int8"]["iou"] if "real_int8" in r.accuracy else None,
        )
        for r in results
    )
    settings, images = made_on["settings"], made_on["images"]
    notes = (
        f"Test: {images['test']} composited images; real: {made_on['real_images']} photographs of "
        f"{settings['real']} (the thesis's: 14,168 and 111 of its own, neither public). IoU is the foot's, "
        "over all pixels of the set or, where it says so, the mean over images; which of the two the thesis "
        "means it does not say.",
    )
    formats = ("", *[".4f"] * (len(heads) - 1 + len(more)))
    return ThesisTable("Table 4.2, accuracy", (*heads, *more), formats, rows, notes)


def training(results: Sequence[NetworkResult]) -> ThesisTable:
    """How far each network was trained."""
    heads = (
        "Model", "network", "epochs", "best epoch", "validation IoU", "images/s", "minutes",
    )  # fmt: skip
    rows = tuple(
        (
            r.title,
            " ".join([r.network, *(f"{name}={value}" for name, value in r.options.items())]),
            *(r.training[n] for n in ("epochs", "best_epoch", "val_iou", "images_per_second", "minutes")),
        )
        for r in results
    )
    return ThesisTable("Training", heads, ("", "", "d", "d", ".4f", ".1f", ".1f"), rows)


def document(
    found: Sequence[ThesisTable],
    results: Sequence[NetworkResult],
    claims: Sequence[Claim],
    settings: ReproductionSettings,
    made_on: Mapping[str, Any],
) -> str:
    """The page: what was made, the tables, which claims hold, what differs from the thesis."""
    keys = [result.key for result in results]
    return (
        "\n\n".join(
            [
                "# Tables 4.1 and 4.2 of the thesis, made anew",
                _made(settings, made_on, keys),
                *(table.to_markdown() for table in found),
                verdicts(claims),
                "## What differs from the thesis",
                _differences(settings, keys),
            ]
        )
        + "\n"
    )


def verdicts(claims: Sequence[Claim]) -> str:
    """Which of the thesis's claims hold on its own figures, and which on ours."""
    lines = ["## Which claims hold", ""]
    for claim in claims:
        lines += [
            f"- **{claim.claim}**. Test: {claim.test}.",
            f"  - The thesis's figures: **{claim.thesis.word}**. {_sentence(claim.thesis.because)}",
            f"  - Ours: **{claim.ours.word}**. {_sentence(claim.ours.because)}",
        ]
    lines += ["", "One run a network with one seed: what lies within a few thousandths is no difference."]
    return "\n".join(lines)


def command(settings: ReproductionSettings, made_on: Mapping[str, Any], keys: Sequence[str]) -> str:
    """The command line that makes the networks ``keys`` again."""
    words = ["footseg", "reproduce", "thesis", "--out", "DIR", "--preset", settings.preset]
    for name in FOLDERS:
        words += [f"--{name}", made_on["settings"][name]]
    for name, value in changed(settings).items():
        values = value if isinstance(value, tuple) else (value,)
        words += [f"--{name.replace('_', '-')}", *map(str, values)]
    students = [key for key in keys if key != TEACHER]
    if len(students) < len(STUDENTS):
        words += ["--students", *students]
    if (threads := made_on["latency_on"]["threads"]) != 1:
        words += ["--threads", str(threads)]
    return shlex.join(words)


def _made(settings: ReproductionSettings, made_on: Mapping[str, Any], keys: Sequence[str]) -> str:
    images, s = made_on["images"], made_on["settings"]
    total = settings.epochs * settings.steps * settings.batch
    machines = "; ".join(
        f"{m['cpu']}, {m['cores']} cores, {m['system']}, {m['backend']}" for m in made_on["trained_on"]
    )
    chosen = ", ".join(f"{name} {version}" for name, version in made_on["versions"][0].items())
    loss = " + ".join(settings.loss) + (f", T = {settings.temperature:g}" if taught(settings) else "")
    own = "" if not changed(settings) else " with other values of " + ", ".join(changed(settings))
    return "\n".join(
        [
            f"Preset `{settings.preset}`{own}: {sum(images.values()):,} composited images of "
            f"{settings.size}x{settings.size} ({images['train']:,} to train on, {images['val']:,} to "
            f"validate, {images['test']:,} to test; feet of {s['feet']}, floors of {s['floors']}, none in "
            f"two parts); each network {settings.epochs} epochs of {settings.steps} steps of "
            f"{settings.batch} ({total:,} images). Students: {loss}; learning rate "
            f"{settings.learning_rate:g}; seed {settings.seed}.",
            "",
            f"Made in {made_on['minutes']:.0f} minutes, finished {made_on['finished']}, on: {machines}.",
            f"Versions: {chosen}.",
            "",
            "```sh",
            command(settings, made_on, keys),
            "```",
        ]
    )


def _differences(settings: ReproductionSettings, keys: Sequence[str]) -> str:
    found = [
        "The photographs: the thesis's feet are a company's scans, its real test set is its own. Figures of "
        "accuracy can be compared in kind, not in value.",
        f"EmilSeg: the thesis gives no layers. In its place stands a U-Net of {settings.teacher_base} base "
        "channels; 48 to 50 come nearest to its size and FLOPs.",
        "The search: the thesis tried 100 settings a network and does not say which won. Here one setting "
        "serves all, chosen beforehand.",
    ]
    if "enet" in keys:
        found.append(
            "ENet: the thesis's size and FLOPs are those of an ENet without the fourfold reduction inside "
            "its bottlenecks. That one stands beside its figures, with unpooling by addition as in the "
            "thesis; the published one has a row of its own."
        )
    if {"mobileseg", "fast_linknet"} & set(keys):
        found.append(
            "MobileSeg and FastLinkNet: the thesis's words allow several layouts. All have its sizes; its "
            "FLOPs lie between theirs, and none has them exactly."
        )
    return "\n".join(f"- {item}" for item in found)


def _thesis(result: NetworkResult, measure: str) -> float | None:
    return getattr(THESIS[result.key], measure) if result.key in THESIS else None


def _megabytes(file: Mapping[str, Any]) -> Cell:
    return "refused" if "refused" in file else file["bytes"] / 1e6


def _refusals(results: Sequence[NetworkResult]) -> list[str]:
    return [
        f"{r.title} in {precision} was refused by the export's own check: {file['refused']}"
        for r in results
        for precision, file in r.files.items()
        if "refused" in file
    ]


def _shown(value: Cell, how: str) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else format(value, how)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """The first column flush left, the others right."""
    first, *others = zip(cells, widths, strict=True)
    padded = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
    return f"| {' | '.join(padded)} |"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
