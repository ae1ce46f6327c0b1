"""What each way of compressing costs and gives: one network, several seeds, scored on the test split.

    python -m benchmarks.experiments.compression --data DIR --runs RUN... --work DIR \
        --out benchmarks/results/compression

Each RUN is a finished ``footseg train`` of another seed. Every variant is a ``footseg compress`` of it with
the settings below, chosen on the validation split; ``footseg study`` then exports, scores and measures
all of a seed's files in turns. What is done is not done again, so the command goes on where it was stopped;
``--seeds 1`` works on the second RUN alone, for as many processes as there are cores. Without ``--seeds`` the
table and the page of the first seed are written to ``--out``.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from footseg import children, files, run
from footseg.benchmarks.measurement import Measurement
from footseg.benchmarks.results_file import read_all
from footseg.compress.sizes import LAYERS, read_sizes
from footseg.evaluate import SavedEvaluation
from footseg.steps import Step, run_steps
from footseg.study.study import PAGE, RESULTS

DENSE = "dense"
PRECISIONS, ALSO = ("fp32", "int8"), ("fp16", "int8w", "int16x8", "int4w", "dynamic")


@dataclass(frozen=True)
class Variant:
    """A compressed run: ``words`` are those of footseg compress after the run that it starts from."""

    name: str
    words: tuple[str, ...]


VARIANTS = (
    Variant("qat", ("--qat",)),
    Variant("prune70", ("--prune", "0.7", "--set", "epochs=10")),
    Variant("cut", ("--cut", "0.55", "--set", "multiple_of=16", "--set", "epochs=30")),
    Variant(
        "deep",
        (
            *("--prune", "0.87", "--set", "epochs=24", "--set", "learning_rate=1.5e-3"),
            *("--cluster", "16", "--set", "epochs=6"),
        ),
    ),
)


@dataclass(frozen=True)
class Aim:
    """A promise: a file of a variant, what is allowed of it, held against another file of the same seed."""

    text: str
    variant: str
    precision: str
    iou_loss: float
    against: tuple[str, str] = (DENSE, "fp32")
    most: tuple[str, float] | None = None


GOALS = (
    Aim("static int8 within 0.005", DENSE, "int8", 0.005),
    Aim("int8 of quantization-aware training within 0.003", "qat", "int8", 0.003),
    Aim("70 % sparsity within 0.01", "prune70", "fp32", 0.01),
    Aim("prune + cluster + int8: 0.45 MB after gzip, within 0.015", "deep", "int8", 0.015,
         most=("gzip_mb", 0.45)),
    Aim("half of the MACs gone within 0.02", "cut", "fp32", 0.02, most=("macs_ratio", 0.5)),
    Aim("half of the MACs gone: latency at most 0.65 of the dense network's", "cut", "fp32", 0.02,
         most=("latency_ratio", 0.65)),
)  # fmt: skip


def steps_of(seed: Path, base: Path, data: Path) -> list[Step]:
    """The commands of one seed, in its folder ``seed``."""
    dense = seed / DENSE
    compressed = [
        Step(
            f"compress {variant.name}",
            ("compress", f"{dense}", "--data", f"{data}", "--out", f"{seed / variant.name}", "--resume",
             *variant.words),
            seed / variant.name / run.RECORD,
        )
        for variant in VARIANTS
    ]  # fmt: skip
    if not dense.exists():
        shutil.copytree(base, dense)
    runs = [f"{seed / name}" for name in (DENSE, *(variant.name for variant in VARIANTS))]
    study = ("study", *runs, "--data", f"{data}", "--out", f"{seed / 'study'}")
    precisions = ("--precision", *PRECISIONS, "--also", *ALSO)
    needs = tuple(step.name for step in compressed)
    return [*compressed, Step("study", (*study, *precisions), seed / "study" / PAGE, needs)]


def rows_of(seed: Path) -> dict[str, dict[str, float]]:
    """What a seed's study has measured, by "variant precision"; ratios are to its dense fp32 file."""
    measured = {
        Path(m.artifact.run).name + " " + m.artifact.recipe: m for m in read_all(seed / "study" / RESULTS)
    }
    dense = measured[f"{DENSE} fp32"]
    return {name: _row(measurement, dense, seed) for name, measurement in measured.items()}


def _row(measured: Measurement, dense: Measurement, seed: Path) -> dict[str, float]:
    variant = Path(measured.artifact.run).name
    scored = SavedEvaluation.load(seed / "study" / "evaluation" / variant / measured.artifact.path.stem)
    assert measured.relative is not None
    assert measured.latency is not None
    return {
        "iou": scored.score("iou"),
        "boundary_f": scored.score("boundary_f"),
        "val_iou": run.load(seed / variant).score("val_iou"),
        "file_mb": measured.file_bytes / 1e6,
        "gzip_mb": measured.gzip_bytes / 1e6,
        "zstd_mb": (measured.zstd_bytes or 0) / 1e6,
        "macs_ratio": measured.cost["macs"] / dense.cost["macs"],
        "latency_ratio": measured.relative.ratio,
        "latency_ms": measured.latency.median_ms,
        "partitions": measured.delegation.partitions if measured.delegation else 0,
    }


def judged(goal: Aim, seeds: Sequence[dict[str, dict[str, float]]]) -> dict[str, Any]:
    """A goal's figures over the seeds: met where the mean keeps to both limits.

    Of these seeds and this test set, as measured; the seeds' deviation stands beside it.
    """
    own, other = f"{goal.variant} {goal.precision}", " ".join(goal.against)
    losses = [rows[other]["iou"] - rows[own]["iou"] for rows in seeds]
    met = statistics.mean(losses) <= goal.iou_loss
    found: dict[str, Any] = {"goal": goal.text, "iou_loss": spread(losses), "iou_loss_limit": goal.iou_loss}
    if goal.most is not None:
        name, limit = goal.most
        values = [rows[own][name] for rows in seeds]
        met = met and statistics.mean(values) <= limit
        found |= {name: spread(values), f"{name}_limit": limit}
    return {**found, "met": met}


def spread(values: Iterable[float]) -> dict[str, Any]:
    """Mean and sample standard deviation, with the values themselves."""
    values = list(values)
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"mean": statistics.mean(values), "deviation": deviation, "values": values}


def table(seeds: Sequence[dict[str, dict[str, float]]]) -> dict[str, dict[str, Any]]:
    """Every file's figures over the seeds that have it, and its loss of IoU to the same seed's dense fp32."""
    names = list(dict.fromkeys(name for rows in seeds for name in rows))
    return {
        name: {
            **{key: spread(rows[name][key] for rows in seeds if name in rows) for key in seeds[0][names[0]]},
            "iou_loss": spread(
                rows[f"{DENSE} fp32"]["iou"] - rows[name]["iou"] for rows in seeds if name in rows
            ),
        }
        for name in names
    }


def main() -> None:
    """Do what is not done; without ``--seeds`` write what came of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="finished runs, a seed each")
    parser.add_argument("--work", type=Path, required=True, help="folder for everything that is made")
    parser.add_argument("--out", type=Path, help="folder to write the table and a page to")
    parser.add_argument("--seeds", type=int, nargs="+", help="numbers of the runs to work on, from 0")
    args = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    numbers = range(len(args.runs)) if args.seeds is None else args.seeds
    folders = [args.work.resolve() / f"seed{number}" for number in range(len(args.runs))]
    for number in numbers:
        steps = steps_of(folders[number], args.runs[number], args.data.resolve())
        again = f"{sys.executable} -m benchmarks.experiments.compression with the same arguments"
        run_steps(steps, folders[number], _footseg, _say, go_on=again)
    if args.seeds is None and args.out is not None:
        places = {args.work.resolve(): "WORK", args.data.resolve(): "DIR"}
        write(folders, args.out, places | {run_.resolve(): f"RUN{n}" for n, run_ in enumerate(args.runs)})


def write(folders: Sequence[Path], out: Path, places: Mapping[Path, str]) -> None:
    """The table of all seeds, and the first one's page with words for this machine's ``places``."""
    seeds = [rows_of(folder) for folder in folders]
    dense = run.load(folders[0] / DENSE)
    record = {
        "what": f"{dense.network} {'x'.join(map(str, dense.input_shape[:2]))}, compressed; test split",
        "variants": {variant.name: " ".join(variant.words) for variant in VARIANTS},
        "seeds": len(seeds),
        "goals": [judged(goal, seeds) for goal in GOALS],
        "kernels": {variant.name: _kernels(folders, variant.name) for variant in VARIANTS},
        "files": table(seeds),
        "data_fingerprint": dense.data_fingerprint,
        "machine": run.load(folders[0] / VARIANTS[0].name).machine,
        "versions": run.load(folders[0] / VARIANTS[0].name).versions,
    }
    files.write_json(out / "results.json", record)
    page = (folders[0] / "study" / PAGE).read_text(encoding="utf-8")
    for place, word in places.items():
        page = page.replace(str(place), word)
    files.write_text(out / PAGE, page)


def _kernels(folders: Sequence[Path], variant: str) -> dict[str, Any]:
    """Of all kernels together: the share of zeros, and megabytes as float32 and Huffman-coded by layer."""
    rows = [read_sizes(folder / variant / LAYERS) for folder in folders]
    return {
        "zeros": spread(sum(r.zeros for r in of) / sum(r.weights for r in of) for of in rows),
        "float_mb": spread(sum(r.float_bytes for r in of) / 1e6 for of in rows),
        "huffman_mb": spread(sum(r.huffman_bytes for r in of) / 1e6 for of in rows),
    }


def _footseg(words: Sequence[str]) -> int:
    """In a process of its own, as a user would: one process for all would fill up with their graphs."""
    return subprocess.run([*children.command("footseg"), *words], stdout=sys.stderr, check=False).returncode


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    main()
