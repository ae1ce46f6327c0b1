"""What is said of times on a busy machine: false alarms and findings of every sentence that judges one.

    python -m benchmarks.experiments.busy_machine [--trials 20] [--file INT8 --fp32 FP32] [--out FILE.json]

``LOADS`` keep all cores busy, by turns, started and ended here. Beside them a file is held against its copy
("same"), and against one with 10 % more work, in three ways:

    bench    footseg bench of two files: their ratio is "different", "alike" or "cannot tell"
    gate     footseg bench --gate of one file, against a line that was stored before the load began: "worse",
             "ok", "better" or "cannot tell"
    export   the speed line of footseg export: "slower", "not slower" or "cannot tell"

The two networks are those of trials.py, with 20 and 22 convolutions; that the second takes 10 % more is
counted (MACs) and measured before the loads begin. With ``--file`` and ``--fp32``, two files of one network,
what a load does to their ratio is measured, too: neighbours in the caches slow the larger file more.
"""

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from footseg import files, provenance
from footseg.benchmarks import busy, cost, gate, host
from footseg.benchmarks.experiments import trials
from footseg.benchmarks.measurement import Measurement
from footseg.export import speed

RESULTS = Path(__file__).resolve().parents[1] / "results" / "busy_machine.json"
CONVOLUTIONS = {"same": 20, "10 % more": 22}
STORED = 10
# What one process does, over and over: one of them a core.
LOADS = {
    "counting": "while True: pass",
    "matrix products": "import numpy as np; a = np.ones((1024, 1024), np.float32)\nwhile True: a @ a",
}
# Verdicts that would be wrong: an alarm where nothing changed, and a clean bill where a tenth was added.
WRONG = {
    "same": {"different", "worse", "better", "slower"},
    "10 % more": {"alike", "ok", "better", "not slower"},
}
RIGHT = {"same": {"alike", "ok", "not slower"}, "10 % more": {"different", "worse", "slower"}}


def main() -> None:
    """Make all trials and write what was said."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=20, help="of each case (20)")
    parser.add_argument("--seconds", type=float, default=host.SECONDS, help="of a comparison (%(default)g)")
    parser.add_argument("--file", type=Path, help="a file whose ratio to --fp32 is measured beside each load")
    parser.add_argument("--fp32", type=Path, help="see --file")
    parser.add_argument("--out", type=Path, default=RESULTS, help="default: %(default)s")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: trials.network(Path(folder) / f"{n}.tflite", n) for name, n in CONVOLUTIONS.items()}
        first = trials.network(Path(folder) / "first.tflite", CONVOLUTIONS["same"])
        # Stored on a machine as idle as it gets in some seconds.
        stored = min((measured(first) for _ in range(STORED)), key=busy.waited)
        work = ratio(paths["10 % more"], first, args.seconds)
        ratios = {"before": ratio(args.file, args.fp32, args.seconds)} if args.file else {}
        found: list[dict[str, Any]] = []
        for number in tqdm(range(args.trials), disable=None):
            name = [*LOADS][number % len(LOADS)]
            with loaded(LOADS[name]):
                for case, path in paths.items():
                    found.append({"load": name, "case": case, **trial(path, first, stored, args.seconds)})
        for name, code in LOADS.items() if args.file else ():
            with loaded(code):
                ratios[name] = ratio(args.file, args.fp32, args.seconds)
        macs = [cost.of_file(path).macs for path in (paths["10 % more"], first)]
    files.write_json(
        args.out,
        {
            "what": "measured: what footseg says of a file against its copy, and against one with 10 % more "
            "work, beside processes that keep all cores busy",
            "settings": {"trials": args.trials, "seconds": args.seconds, "loads": LOADS, "a core": 1},
            "work_of_10_%_more": {"macs": macs[0] / macs[1], "processor_time_before": work},
            "summaries": summaries(found),
            "ratios_of_two_files": ratios,
            "before": {"waited": busy.waited(stored)},
            "machine": provenance.machine(),
            "versions": provenance.versions(),
            "created": provenance.now(),
            "trials": found,
        },
    )


def trial(path: Path, first: Path, stored: Measurement, seconds: float) -> dict[str, Any]:
    """What is said, each way, of a file against the first one, and what the machine was doing."""
    turns = host.compare([first, path], seconds=seconds)[1]
    now = measured(path)
    timed = speed.against(path, first)
    held = next(v for v in gate.check([now], [stored]).verdicts if v.what == "latency, ms")
    return {
        "said": {"bench": turns.verdict, "gate": held.outcome, "export": timed.verdict},
        "bench": [turns.low, turns.ratio, turns.high],
        "starts": turns.starts,
        "gate": [held.low, held.ratio, held.high],
        "export": [timed.low, timed.ratio, timed.high],
        "waited": busy.waited(now),
        "load_average": os.getloadavg()[0],
    }


def measured(path: Path) -> Measurement:
    """A line of one file under one name, so that lines of all files can be compared."""
    with tempfile.TemporaryDirectory() as folder:
        named = Path(folder) / "file.tflite"
        named.write_bytes(path.read_bytes())
        return host.measure(named)


def ratio(path: Path, other: Path, seconds: float) -> list[float]:
    """Of processor time, in turns: low, ratio, high."""
    found = host.compare([other, path], seconds=seconds)[1]
    assert found.low is not None
    assert found.high is not None
    return [found.low, found.ratio, found.high]


@contextmanager
def loaded(code: str) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """A process a core that does nothing else, ended with the block."""
    alone = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen([sys.executable, "-P", "-c", code], env=alone) for _ in range(os.cpu_count() or 1)
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def summaries(found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """How often each was said, by case and way, and how often that was wrong or right."""
    rows = []
    for case, way in itertools.product(CONVOLUTIONS, found[0]["said"]):
        made = [each for each in found if each["case"] == case]
        said = Counter(each["said"][way] for each in made)
        rows.append(
            {
                "case": case,
                "way": way,
                "trials": len(made),
                "said": dict(said),
                "wrong": sum(said[word] for word in WRONG[case]),
                "right": sum(said[word] for word in RIGHT[case]),
                "median_ratio": statistics.median(each[way][1] for each in made),
            }
        )
    return rows


if __name__ == "__main__":
    main()
