"""What footseg data check costs beside decoding the same files: processor time, in turns, in one process.

    python -m benchmarks.experiments.data_check --photographs 200

Photographs of 2 megapixels are generated: coarse colours enlarged, with a sensor's noise, as JPEG of quality
90, each with a disc as its mask. Decoding is Pillow's, of the same files from memory, by as many threads.
"""

import argparse
import io
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from footseg import files, provenance
from footseg.data.check import check
from footseg.data.images import write_image, write_mask
from footseg.data.threads import each

RESULTS = Path(__file__).resolve().parents[1] / "results" / "data_check.json"
SIZE = (1224, 1632)
LIMIT = 1.2
ROUNDS = 5


def main() -> None:
    """Generate photographs, decode and check them in turns, write the JSON, print the ratio."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--photographs", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        each(partial(photograph, data, arguments.photographs), range(arguments.photographs), "generate")
        result = compare(data, arguments.rounds)
    files.write_json(arguments.out, {"photographs": arguments.photographs, **result})
    print(f"{result['ratio']:.3f} of decoding ({'met' if result['met'] else 'NOT MET'})")  # noqa: T201


def photograph(data: Path, count: int, number: int) -> None:
    """Write a photograph and its mask: nine of ten in train, the rest in val."""
    split, rng = "train" if number < 0.9 * count else "val", np.random.default_rng(number)
    height, width = SIZE
    coarse = rng.integers(0, 256, (height // 20, width // 20, 3), np.uint8)
    enlarged = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    noise = rng.normal(0, 6, enlarged.shape).astype(np.float32)
    rows, columns = np.ogrid[:height, :width]
    disc = np.hypot(rows - height / 2, columns - width / 2) < rng.integers(150, 400)
    pixels = np.clip(enlarged + noise, 0, 255).astype(np.uint8)
    write_image(data / split / "images" / f"{number:05d}.jpg", pixels)
    write_mask(data / split / "masks" / f"{number:05d}.png", disc.astype(np.uint8))


def compare(data: Path, rounds: int) -> dict[str, Any]:
    """The ratio of a check to decoding: the median of rounds, in each of which one follows the other."""
    paths = [path for path in sorted(data.rglob("*")) if path.is_file()]
    taken = [
        (seconds(lambda: each(decode, paths, "decode")), seconds(lambda: check(data))) for _ in range(rounds)
    ]
    ratio = statistics.median(checked / decoded for decoded, checked in taken)
    return {
        "what": "measured: processor time of footseg data check over that of decoding the same files",
        "created": provenance.now(),
        "machine": provenance.machine(),
        "versions": provenance.versions(),
        "size": list(SIZE),
        "megabytes": round(sum(path.stat().st_size for path in paths) / 1e6, 1),
        "rounds": [{"decode_s": round(d, 3), "check_s": round(c, 3)} for d, c in taken],
        "ratio": round(ratio, 4),
        "limit": LIMIT,
        "met": ratio <= LIMIT,
    }


def decode(path: Path) -> None:
    """Decode an image file, and nothing else."""
    Image.open(io.BytesIO(path.read_bytes())).load()


def seconds(work: Callable[[], object]) -> float:
    """The processor time of ``work``, all threads together."""
    began = time.process_time()
    work()
    return time.process_time() - began


if __name__ == "__main__":
    main()
