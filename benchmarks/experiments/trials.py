"""How often a comparison of two files is wrong: false alarms of a file against itself, slow-downs missed.

    python -m benchmarks.experiments.trials [--file MODEL.tflite] [--trials 40] [--seconds 10] \
        [--out FILE.json]

Two networks are made by hand: one of 20 identical convolutions and one of 21, which is 5 % more work. The
first is compared with itself, and the second with the first; with ``--file`` that file is compared with
itself, too. Each trial is one ``benchmarks.host.compare``. Trials that --out already holds are not made
again, so the command goes on where it was stopped; all ratios of all rounds are kept there. Last it
simulates intervals, see coverage.py.
"""

import argparse
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from footseg import comparison, files, provenance
from footseg.benchmarks import cost, host
from footseg.benchmarks.experiments import coverage
from footseg.errors import FootsegError

RESULTS = Path(__file__).resolve().parents[1] / "results" / "comparison.json"
CONVOLUTIONS = (20, 21)
# 9.4 million MACs a convolution: some 2 ms for all of them on one core of a server.
SIDE, CHANNELS, CLASSES = 32, 32, 2
# What is promised of a comparison.
FALSE_ALARMS, FOUND, LONGEST_SECONDS = 0.05, 0.90, 20.0


@dataclass(frozen=True)
class Case:
    """Two files to compare again and again; ``slower`` if the second truly has more to do."""

    name: str
    paths: tuple[Path, Path]
    slower: bool = False


def main() -> None:
    """Make the trials that are missing, write all of them and what came of them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--file", type=Path, help="a .tflite or .onnx to compare with itself, too")
    parser.add_argument("--trials", type=int, default=40, help="of each case (40)")
    parser.add_argument("--seconds", type=float, default=host.SECONDS, help="of a comparison (%(default)g)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="default: %(default)s")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        few, more = (network(Path(folder) / f"{n}_convolutions.tflite", n) for n in CONVOLUTIONS)
        cases = [Case("same", (few, few)), Case("5 % more", (few, more), slower=True)]
        if args.file:
            cases.append(Case(f"same: {args.file.name}", (args.file, args.file)))
        settings = {"seconds": args.seconds, "confidence": comparison.CONFIDENCE, "threads": 1}
        done = earlier(args.out, settings)
        for number in range(args.trials):
            for case in cases:  # in turns, so that all cases meet the machine's good and bad hours
                trials = done.setdefault(case.name, [])
                if len(trials) > number:
                    continue
                trials.append(trial(case, args.seconds))
                write(args.out, settings, cases, done)
                last = trials[-1]
                _say(
                    f"{case.name}, {number + 1}: {last['ratio']:.3f} [{last['low']:.3f}, {last['high']:.3f}]"
                )
        write(args.out, settings, cases, done, simulated=coverage.simulated())
        for case in cases:
            _say(json.dumps(summary(case, done[case.name]), ensure_ascii=False, indent=1))


def trial(case: Case, seconds: float) -> dict[str, Any]:
    """One comparison: its interval, the seconds it took, and the ratios of each start's rounds."""
    began = time.monotonic()
    found = host.compare(case.paths, seconds=seconds)[1]
    taken = time.monotonic() - began
    rounds = np.round(found.ratios, 5).reshape(found.starts, -1).tolist()
    bounds = {name: round(getattr(found, name), 5) for name in ("ratio", "low", "high")}
    return {**bounds, "different": found.different, "seconds": round(taken, 2), "starts": rounds}


def summary(case: Case, trials: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the trials of a case say, and whether the promise was kept."""
    share = sum(made["different"] for made in trials) / len(trials)
    longest = max(made["seconds"] for made in trials)
    promise = share >= FOUND if case.slower else share <= FALSE_ALARMS
    found: dict[str, Any] = {
        "case": case.name,
        "trials": len(trials),
        "called_different": share,
        "limit": f"at least {FOUND:.0%}" if case.slower else f"at most {FALSE_ALARMS:.0%}",
        "longest_seconds": longest,
        "met": promise and longest < LONGEST_SECONDS,
        "files": [{"name": path.name, "sha256": files.sha256(path)} for path in case.paths],
        "macs_ratio": cost.of_file(case.paths[1]).macs / cost.of_file(case.paths[0]).macs,
        "called_different_by_percentile_bootstrap": sum(_by_bootstrap(t["starts"]) for t in trials)
        / len(trials),
    }
    if len(trials) >= comparison.fewest_starts():
        # All trials together are the long run that tells the true ratio.
        truth = comparison.interval([[made["ratio"]] for made in trials])
        found["ratio_over_all_trials"] = [truth.low, truth.ratio, truth.high]
    return found


def _by_bootstrap(starts: Sequence[Sequence[float]]) -> bool:
    """Whether a bootstrap of the same starts, by its percentiles, would have called the files different."""
    low, high = coverage.percentiles(np.array([np.median(np.log(rounds)) for rounds in starts]))
    return low > 0 or high < 0


def earlier(path: Path, settings: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The trials that ``path`` holds.

    Raises:
        FootsegError: they were made with other settings or on another machine.
    """
    if not path.is_file():
        return {}
    record = files.read_json(path)
    wanted = {"settings": dict(settings), "machine": provenance.machine()}
    for name, value in wanted.items():
        if record[name] != value:
            raise FootsegError(f"{path} holds trials with another {name}: {record[name]}; give another --out")
    return record["trials"]


def write(
    path: Path,
    settings: Mapping[str, Any],
    cases: Sequence[Case],
    done: Mapping[str, Sequence[Mapping[str, Any]]],
    simulated: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Everything as JSON, each trial on a line of its own."""
    head = {
        "what": "measured: comparisons of two files by benchmarks.host.compare, called different or not",
        "created": provenance.now(),
        "settings": settings,
        "machine": provenance.machine(),
        "versions": provenance.versions(),
        "summaries": [summary(case, done[case.name]) for case in cases if done.get(case.name)],
        "simulated": list(simulated),
    }
    lines = [
        f"  {json.dumps(name)}: [\n" + ",\n".join(f"   {json.dumps(made)}" for made in trials) + "\n  ]"
        for name, trials in done.items()
    ]
    text = json.dumps(head, indent=1, ensure_ascii=False).removesuffix("\n}")
    files.write_text(path, text + ',\n "trials": {\n' + ",\n".join(lines) + "\n }\n}\n")


def network(path: Path, convolutions: int) -> Path:
    """A .tflite of so many 3x3 convolutions all alike, between one of an image and one to logits."""
    import flatbuffers  # comes with LiteRT, which reads its schema by it

    channels = [3, *[CHANNELS] * (convolutions + 1), CLASSES]
    graph, model = schema.SubGraphT(), schema.ModelT()
    model.buffers, graph.tensors, graph.operators = [schema.BufferT()], [], []
    random = np.random.default_rng(0)

    def tensor(shape: Sequence[int], values: np.ndarray | None = None) -> int:
        made = schema.TensorT()
        made.shape, made.name = list(shape), f"t{len(graph.tensors)}".encode()
        made.type = schema.TensorType.FLOAT32
        if values is not None:
            buffer = schema.BufferT()
            buffer.data = values.astype(np.float32).view(np.uint8).ravel()
            model.buffers.append(buffer)
            made.buffer = len(model.buffers) - 1
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    last = tensor((1, SIDE, SIDE, channels[0]))
    graph.inputs = [last]
    for before, after in itertools.pairwise(channels):
        # So large that values keep their size from layer to layer: tiny ones would be slow to compute with.
        kernel = random.normal(0, (9 * before) ** -0.5, (after, 3, 3, before))
        operator, options = schema.OperatorT(), schema.Conv2DOptionsT()
        options.strideH = options.strideW = options.dilationHFactor = options.dilationWFactor = 1
        operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.Conv2DOptions, options
        weights, bias = tensor(kernel.shape, kernel), tensor((after,), np.zeros(after))
        operator.inputs, operator.outputs = [last, weights, bias], [tensor((1, SIDE, SIDE, after))]
        graph.operators.append(operator)
        last = operator.outputs[0]
    graph.outputs = [last]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CONV_2D
    code.version = 1
    model.version, model.operatorCodes, model.subgraphs = 3, [code], [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    main()
