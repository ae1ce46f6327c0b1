"""The weights of ``tiny_run``: ``python -m tests.tiny_weights`` trains them anew and writes tiny_weights.npz.

They are a file because what tests share must not hang on how a processor rounds: training ends in one network
here and in another one there, while a given network gives the same everywhere but for the last digits.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

FILE = Path(__file__).with_suffix(".npz")
OPTIONS = {"width": 0.25, "dropout": 0.0}


def network() -> Any:
    """FastLinkNet of a quarter of the width for 64x64, trained."""
    from footseg import networks

    built = networks.build("fast_linknet", (64, 64, 3), 2, **OPTIONS)
    with np.load(FILE) as stored:
        built.set_weights([stored[f"{number:03d}"].astype(np.float32) for number in range(len(stored))])
    return built


def write_run(out: Path, data: Path) -> None:
    """Leave ``network`` in ``out`` as a run that was trained on ``data``, with the figures of two epochs."""
    from footseg import files
    from footseg.data.folder import fingerprint, open_data, pairs
    from footseg.training.config import dump, from_values
    from footseg.training.logbook import HISTORY, history_csv
    from tests.conftest import TINY
    from tests.runs import save_run

    config = from_values({"network": "fast_linknet", "data": str(data), **TINY, "epochs": 2})
    save_run(
        out, network(), network_options=OPTIONS, data=str(data), epochs_done=2,
        data_fingerprint=fingerprint(pairs(open_data(data), "train"), open_data(data).labels),
        best={"epoch": 2, "val_iou": 0.5}, backend="tensorflow", command="footseg train fast_linknet",
    )  # fmt: skip
    files.write_text(out / "config.toml", dump(config))
    files.write_text(
        out / "history.csv", history_csv([dict.fromkeys(HISTORY, n / 4) | {"epoch": n} for n in (1, 2)])
    )


def main() -> None:
    """Train on 600 drawn feet, none of them one of ``tiny_data``."""
    import keras

    from footseg.data.shapes import write_shapes
    from footseg.data.synth import SynthConfig
    from footseg.training.config import from_values
    from footseg.training.train import train
    from tests.conftest import TINY

    with tempfile.TemporaryDirectory() as folder:
        asked = SynthConfig({"train": 600, "val": 100}, seed=2, size=(64, 64))
        data = write_shapes(Path(folder) / "feet", asked)
        options = {**TINY, "batch": 16, "epochs": 60, "ema": 0.9}
        config = from_values({"network": "fast_linknet", "data": str(data), **options})
        done = train(config, Path(folder) / "run", say=print)
        weights = keras.saving.load_model(done.model, compile=False).get_weights()
    # Half the bytes of float32; whatever rounding does to the network, it does once and for all.
    np.savez_compressed(FILE, **{f"{n:03d}": w.astype(np.float16) for n, w in enumerate(weights)})
    print(f"{FILE}: {FILE.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
