"""Images a second in training: the whole input path with augmentation against the same step on a fixed batch.

    python -m benchmarks.experiments.training_throughput --data DIR \
        --out benchmarks/results/training_throughput.json

Both feed the same compiled step. With augmentation, each step draws new images and new numbers, as
footseg train does; the fixed batch is the same arrays again and again, so the step alone is timed. Turns
alternate, so that a drift of the machine's speed cancels.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from footseg import files, provenance

# Runs in a process of its own: benchmarks need no training stack to be imported.
WORKER = """
import json, sys, time
import numpy as np
from footseg import networks
from footseg.training import augment
from footseg.training.config import from_values
from footseg.data.folder import load_split, open_data
from footseg.training.distill import Course
from footseg.training.step import TrainingStep

data, rounds, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
config = from_values({"network": "fast_linknet", "data": data})
split = load_split(open_data(__import__("pathlib").Path(data)), "train", config.size)
step = TrainingStep(networks.build("fast_linknet"), Course(config, 1000))
how = config.augmentation()
still = augment.Augmentation(0, 0, 0, 0, 0)
none = augment.sample(still, config.batch, config.size, np.random.default_rng(0))
fixed = (split.images[: config.batch].copy(), split.masks[: config.batch].copy(), none)

def drawn(rng):
    chosen = rng.permutation(len(split.names))[: config.batch]
    return split.images[chosen], split.masks[chosen], augment.sample(how, config.batch, config.size, rng)

rng = np.random.default_rng(0)
feeds = {"fixed": lambda: fixed, "augmented": lambda: drawn(rng)}
for _ in range(5):
    step.train(*fixed)
rates = {"fixed": [], "augmented": []}
for turn in range(rounds):
    for name in list(feeds)[:: 1 if turn % 2 else -1]:
        began = time.perf_counter()
        for _ in range(steps):
            step.train(*feeds[name]())
        rates[name].append(steps * config.batch / (time.perf_counter() - began))
print(json.dumps(rates))
"""


def main() -> None:
    """Measure and write the JSON file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of a data set")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=10, help="steps a turn")
    args = parser.parse_args()
    command = [sys.executable, "-c", WORKER, str(args.data), str(args.rounds), str(args.steps)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    rates = json.loads(done.stdout.splitlines()[-1])
    ratios = [a / b for a, b in zip(rates["augmented"], rates["fixed"], strict=True)]
    files.write_json(
        args.out,
        {
            "what": "training throughput of FastLinkNet 256x256, batch 16, images a second",
            "data": args.data.resolve().name,
            "median_ratio_augmented_to_fixed": statistics.median(ratios),
            "images_per_second": {name: statistics.median(samples) for name, samples in rates.items()},
            "samples": rates,
            "machine": provenance.machine(),
            "versions": provenance.versions(),
            "created": provenance.now(),
        },
    )


if __name__ == "__main__":
    main()
