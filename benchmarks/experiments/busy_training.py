"""Images a second in training beside other work, and whether threads that spin are to blame.

    python -m benchmarks.experiments.busy_training [--network tiptoe] [--out FILE.json]

A process for each of ``SETTINGS`` trains on noise, 256x256, batch 16, in turns of some seconds: alone, and
beside one and two processes that do nothing but count. Of a turn two figures are kept: images a second by the
clock on the wall, and images a second of processor time, all threads added up. Threads that spin while they
wait show in the second: it falls where they take processors from their own process. The best turn of each
counts, for whatever else the machine does makes it slower.

TensorFlow has no public switch for the spinning of its thread pool; the setting that takes it away
(``disable_thread_spinning``) sets up its context by a private function, here only.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from footseg import children, files, provenance

RESULTS = Path(__file__).resolve().parents[1] / "results" / "busy_training.json"
BESIDE = (0, 1, 2)
COUNTING = "while True: pass"
# Runs in a process of its own: benchmarks need no training stack to be imported.
WORKER = """
import json, os, sys, time
network, spinning = sys.argv[1], sys.argv[2] == "True"
niceness, seconds = int(sys.argv[3]), float(sys.argv[4])
os.nice(niceness)
if not spinning:
    from tensorflow.core.protobuf import config_pb2
    from tensorflow.python.eager import context
    asked = config_pb2.ConfigProto()
    asked.experimental.disable_thread_spinning = True
    context._set_context(context.Context(config=asked))
import numpy as np
from footseg import networks
from footseg.training import augment
from footseg.training.config import from_values
from footseg.training.distill import Course
from footseg.training.step import TrainingStep

config = from_values({"network": network, "data": "."})
step = TrainingStep(networks.build(network), Course(config, 1000))
rng, how = np.random.default_rng(0), config.augmentation()
images = rng.integers(0, 256, (4 * config.batch, *config.size, 3), dtype=np.uint8)
masks = rng.integers(0, 2, images.shape[:3], dtype=np.uint8)

def train():
    chosen = rng.permutation(len(images))[: config.batch]
    step.train(images[chosen], masks[chosen], augment.sample(how, config.batch, config.size, rng))

for _ in range(3):
    train()
print("ready", flush=True)
for line in sys.stdin:
    began, own, steps = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - began < seconds:
        train()
        steps += 1
    made = steps * config.batch
    taken = time.perf_counter() - began, time.process_time() - own
    print(json.dumps([made / taken[0], made / taken[1]]), flush=True)
"""


@dataclass(frozen=True)
class Setting:
    """How a process trains: whether threads spin, how nice it is, and its environment."""

    spinning: bool = True
    niceness: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)


SETTINGS = {
    "as it is": Setting(),
    "no spinning": Setting(spinning=False),
    "OpenMP passive": Setting(environment={"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}),
    "one pool of one thread": Setting(
        environment={"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
    ),
    "as it is, nice 10": Setting(niceness=10),
}


class Training:
    """A process that trains when asked."""

    def __init__(self, network: str, setting: Setting, seconds: float) -> None:
        words = [network, str(setting.spinning), str(setting.niceness), str(seconds)]
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", WORKER, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**children.environment(), **setting.environment},
        )
        self._line()

    def turn(self) -> list[float]:
        """Images a second by the clock on the wall, and of processor time."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return json.loads(self._line())

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("the process that trains ended early")
        return line


def main() -> None:
    """Measure and write the JSON file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", default="tiptoe", help="default: %(default)s")
    parser.add_argument("--turns", type=int, default=4, help="of each setting beside each load (4)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of a turn (3)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="default: %(default)s")
    args = parser.parse_args()
    turns: list[dict[str, Any]] = []
    with ExitStack() as stack:
        training = {}
        for name, setting in SETTINGS.items():
            training[name] = Training(args.network, setting, args.seconds)
            stack.callback(ended, training[name].process)
        for _ in tqdm(range(args.turns), disable=None):
            for beside in BESIDE:
                for name, process in training.items():
                    turns.append({"beside": beside, "setting": name, **turn(process, beside)})
    files.write_json(
        args.out,
        {
            "what": f"measured: training of {args.network}, 256x256, batch 16, beside processes that count",
            "best": best(turns),
            "settings": {"turns": args.turns, "seconds": args.seconds},
            "machine": provenance.machine(),
            "versions": provenance.versions(),
            "created": provenance.now(),
            "turns": turns,
        },
    )


def turn(process: Training, beside: int) -> dict[str, float]:
    """A turn beside so many processes, and the load of the machine at its end."""
    with ExitStack() as stack:
        for _ in range(beside):
            stack.callback(ended, subprocess.Popen([sys.executable, "-P", "-c", COUNTING]))
        wall, processor = process.turn()
    return {
        "images_per_second": wall,
        "images_per_processor_second": processor,
        "load_average": os.getloadavg()[0],
    }


def ended(process: "subprocess.Popen[Any]") -> None:
    """End a process and wait for that."""
    process.kill()
    process.wait()


def best(turns: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The best turn of each setting beside each load."""
    rows = []
    for beside in BESIDE:
        for name in SETTINGS:
            own = [each for each in turns if (each["beside"], each["setting"]) == (beside, name)]
            figures = ("images_per_second", "images_per_processor_second")
            rows.append(
                {"beside": beside, "setting": name, **{f: max(each[f] for each in own) for f in figures}}
            )
    return rows


if __name__ == "__main__":
    main()
