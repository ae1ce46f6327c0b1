"""What LiteRT's GPU makes of our files against its CPU: networks, options, real pictures, half precision.

    python -m benchmarks.experiments.gpu options
    python -m benchmarks.experiments.gpu pictures RUN... --data DIR
    python -m benchmarks.experiments.gpu times

The GPU is Vulkan by SwiftShader, on the processor (``make clients``), and computes in float32. What is done
stands in the results file and is not done again; a row that is taken out there is made anew.

``options``: each network, and each of its options at another value, with random weights whose normalization
was settled on drawn feet. Random weights say whether a file compiles and how far logits are apart; they
enlarge small differences more than trained ones do. ``pictures`` also rounds to float16 (``half``), as many
phones' GPUs compute. ``times`` are ratios of processor time on one thread, intervals over fresh starts.
"""

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from footseg import files, metrics, networks, provenance, runtime
from footseg import run as runs
from footseg.comparison import fewest_starts, interval
from footseg.data.folder import load_split, open_data
from footseg.data.shapes import write_shapes
from footseg.data.synth import SynthConfig
from footseg.export import freeze, half, quantize, tflite
from footseg.export.clients import install
from footseg.export.clients.ask import ClientError, ask
from footseg.export.clients.known import CLIENTS

RESULTS = Path(__file__).resolve().parents[1] / "results" / "gpu.json"
PRECISIONS = ("fp32", "fp16", "int8")
GPU = next(client for client in CLIENTS if client.name == "gpu")

# Another value of each option (or several); "dropout" and "encoder_weights" change no file's operators.
VALUES: Mapping[str, Mapping[str, tuple[Any, ...]]] = {
    "efficientnet_lite": {},
    "emilseg": {"base": (8,)},
    "enet": {"unpool": ("add",), "internal_scale": (1,), "activation": ("relu",), "width": (0.5,)},
    "fast_linknet": {"width": (0.25,), "downscale": (1, 4), "first_stride": (2,)},
    "linknet": {"width": (0.25,), "first_stride": (2,)},
    "mobileseg": {"decoder": ("M1",), "width": (0.25,), "downscale": (2, 4)},
    "tiptoe": {
        "width": (0.5,), "downscale": (2, 4), "first_stride": (1,), "blocks1": (1,), "blocks2": (0,),
        "blocks3": (0,), "blocks4": (0,), "whole": (1, 2, 4), "kernel": (3,), "decoder": (16,), "head": (2,),
        "activation": ("relu6", "hard_swish"),
    },
    "unet": {"base": (8,), "norm": ("group",), "decoder_norm": (False,)},
}  # fmt: skip
# Options that go with those: of U-Net with 64 channels, 37 MB in one kernel, ai-edge-quantizer makes no int8.
SMALL: Mapping[str, Mapping[str, Any]] = {"unet": {"base": 16}}
# Options that another one cannot do without.
BESIDE: Mapping[tuple[str, str], Mapping[str, Any]] = {("tiptoe", "first_stride"): {"head": 2}}
# Sides that leave the deepest maps odd, which the GPU's transposed convolutions would shift.
ODD = {"linknet": 96, "mobileseg": 96, "fast_linknet": 64, "unet": 48, "enet": 72}
SIDES = (64, 128, 256)
IMAGES = 2
# Of the spread of logits: the margin of pixels that count as decided.
MARGIN = 0.01
# Pictures of which every value is looked at.
LOOKED_AT = 10
# Sides of the images that files are timed on.
TIMED = dict.fromkeys(networks.names(), 256) | dict.fromkeys(("unet", "emilseg", "linknet"), 128)


def cases() -> Iterator[tuple[str, dict[str, Any], int]]:
    """Network, options, and the side of the image: the smallest of SIDES, or an odd one."""
    for name in networks.names():
        small = dict(SMALL.get(name, {}))
        asked: list[dict[str, Any]] = [small]
        for option, values in VALUES[name].items():
            beside = {**small, **BESIDE.get((name, option), {})}
            asked += [beside | {option: value} for value in values]
        for options in asked:
            yield name, options, next(side for side in SIDES if fits(name, options, side))
        if name in ODD:
            yield name, small, ODD[name]


def fits(name: str, options: Mapping[str, Any], side: int) -> bool:
    """Whether a network takes images of this side."""
    try:
        networks.build(name, (side, side, 3), 2, **options)
    except ValueError:
        return False
    return True


def settled(name: str, options: Mapping[str, Any], images: np.ndarray) -> Any:
    """A network of random weights that normalizes as after training, with each class on half of the pixels.

    Lowered for export. Its scales and offsets are drawn, so that no channel is as another.
    """
    import keras

    from footseg.export.lowering import lower

    keras.utils.set_random_seed(0)
    network = networks.build(name, images.shape[1:], 2, **options)
    rng = np.random.default_rng(0)
    for layer in network.layers:
        if "Normalization" in type(layer).__name__:
            layer.gamma.assign(rng.uniform(0.7, 1.3, layer.gamma.shape))
            layer.beta.assign(rng.normal(0, 0.2, layer.beta.shape))
            if hasattr(layer, "momentum"):
                layer.momentum = 0.0  # one pass and the statistics are those of the images
        elif "dropout" in type(layer).__name__.lower():
            layer.rate = 0.0
    given = runtime.to_float(images)
    network(given, training=True)
    bias = network.get_layer("classifier").bias
    bias.assign(np.asarray(bias) - np.asarray(network(given)).mean((0, 1, 2)))
    return lower(network)


def made(network: Any, calibration: np.ndarray, folder: Path) -> dict[str, Path]:
    """The files of a lowered Keras network, by precision; "fused" is the converter's own."""
    found = {"fused": folder / "fused.tflite"}
    found["fused"].write_bytes(tflite.convert(freeze.freeze(network, folder / "saved_model")))
    for precision in PRECISIONS:
        found[precision] = folder / f"{precision}.tflite"
        found[precision].write_bytes(quantize.quantize(found["fused"], precision, calibration))
    return found


def against_cpu(logits: np.ndarray, cpu: np.ndarray) -> dict[str, Any]:
    """How logits (N, H, W, classes) differ from a CPU's, in standard deviations of these.

    ``equal`` is the share of pixels of the same class, ``equal_decided`` of those of some margin.
    """
    spread = float(cpu.std())
    equal = logits.argmax(-1) == cpu.argmax(-1)
    best = np.sort(cpu, axis=-1)
    decided = best[..., -1] - best[..., -2] > MARGIN * spread
    apart = np.abs(logits - cpu) / spread
    return {
        "images": len(cpu),
        "equal": float(equal.mean()),
        "equal_decided": float(equal[decided].mean()),
        "worst_image": float(equal.mean((1, 2)).min()),
        "logit_max": float(apart.max()),
        "logit_mean": float(apart.mean()),
    }


def on_gpu(file: Path, images: np.ndarray, truth: np.ndarray | None = None) -> dict[str, Any]:
    """What the GPU alone makes of a file: the operators that it refuses, or how it differs from the CPU."""
    cpu = runtime.load(file).logits(images)
    try:
        answer = ask(GPU, file, images, home=install.home())
    except ClientError as error:
        return {"alone": False, "refused": dict(error.refused), "error": str(error)}
    values = answer.values.reshape(cpu.shape)
    scores = {} if truth is None else {"cpu": accuracy(cpu, truth), "gpu": accuracy(values, truth)}
    return {"alone": not answer.fallen, **against_cpu(values, cpu), **scores}


def accuracy(logits: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """IoU, and boundary F as the mean over images, of logits (N, H, W, classes)."""
    masks = logits.argmax(-1).astype(np.uint8)
    found = metrics.scores(metrics.confusion(truth, masks, logits.shape[-1]))
    boundary = np.nanmean(metrics.boundary_f_per_image(truth, masks))
    return {"iou": float(found["iou"]), "boundary_f": float(boundary)}


def options(book: "Book") -> None:
    """A row for each network, option and precision."""
    for name, chosen, side in cases():
        keys = [{"network": name, "options": chosen, "side": side, "precision": p} for p in PRECISIONS]
        if all(book.has("options", key) for key in keys):
            continue
        with tempfile.TemporaryDirectory() as folder:
            feet, images = _feet(Path(folder), side)
            paths = made(settled(name, chosen, feet), feet, Path(folder))
            for key, precision in zip(keys, PRECISIONS, strict=True):
                if not book.has("options", key):
                    book.add("options", key, on_gpu(paths[precision], images))


def _feet(folder: Path, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Drawn feet: images to settle and calibrate on, and others to be looked at."""
    config = SynthConfig({"train": 8, "val": IMAGES}, seed=1, size=(side, side))
    data = open_data(write_shapes(folder / "feet", config))
    train, val = (load_split(data, split, (side, side)).images for split in ("train", "val"))
    return train, val


def pictures(book: "Book", run_dir: Path, data: Path, count: int) -> None:
    """A trained network's files on real pictures: the GPU, and half precision as simulated on the CPU."""
    run = runs.load_trained(run_dir)
    size = run.input_shape[:2]
    images, truth = _pictures(data, size, count)
    with tempfile.TemporaryDirectory() as folder:
        calibration = quantize.calibration(data, size, 64, 0).images
        paths = made(freeze.load_network(run.model), calibration, Path(folder))
        for precision in PRECISIONS:
            key = {"network": run.network, "size": list(size), "precision": precision}
            if not book.has("pictures", key):
                book.add("pictures", key, on_gpu(paths[precision], images, truth))
        key = {"network": run.network, "size": list(size)}
        if not book.has("half", key):
            book.add("half", key, halved(paths["fp16"], images, truth))


def _pictures(data: Path, size: tuple[int, int], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Images and masks of the test split, and of the validation split where these are too few."""
    splits = [load_split(open_data(data), split, size) for split in ("test", "val")]
    images, truth = (
        np.concatenate([getattr(split, part) for split in splits])[:count] for part in ("images", "masks")
    )
    return images, truth


def halved(file: Path, images: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """What rounding to float16 does to an fp16 file, and the largest value in it (float16 ends at 65,504)."""
    rounded = half.half(file.read_bytes())
    assert rounded is not None
    short = file.with_name("half.tflite")
    short.write_bytes(rounded)
    cpu, found = (runtime.load(path).logits(images) for path in (file, short))
    return {
        **against_cpu(found, cpu),
        "float32": accuracy(cpu, truth),
        "float16": accuracy(found, truth),
        "largest": largest(file, images[:LOOKED_AT]),
    }


def largest(file: Path, images: np.ndarray) -> float:
    """The largest magnitude of any value that a float file computes."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        str(file),
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    (given,), found = interpreter.get_input_details(), 0.0
    made_here = [t["index"] for t in interpreter.get_tensor_details() if t["dtype"] == np.float32]
    for image in images:
        interpreter.set_tensor(given["index"], runtime.to_float(image[None]))
        interpreter.invoke()
        for index in made_here:
            try:
                found = max(found, float(np.abs(interpreter.get_tensor(index)).max()))
            except ValueError:  # A tensor that the interpreter gave no memory.
                continue
    return found


def times(book: "Book") -> None:
    """Processor time of the file that is written over that of the converter's own, for each network."""
    for name in networks.names():
        chosen, side = dict(SMALL.get(name, {})), TIMED[name]
        key = {"network": name, "options": chosen, "side": side}
        if book.has("times", key):
            continue
        with tempfile.TemporaryDirectory() as folder:
            feet, _ = _feet(Path(folder), side)
            paths = made(settled(name, chosen, feet), feet, Path(folder))
            found = {}
            for precision, base in (("fp32", paths["fused"]), ("int8", _as_quantized(paths, feet))):
                starts = [[_ratio(paths[precision], base)] for _ in range(fewest_starts())]
                found[precision] = dataclasses.asdict(interval(starts))
            book.add("times", key, {**found, "starts": fewest_starts(), "machine": provenance.machine()})


def _as_quantized(paths: Mapping[str, Path], calibration: np.ndarray) -> Path:
    """The int8 file as the quantizer writes it."""
    path = paths["fused"].with_name("quantized.tflite")
    path.write_bytes(quantize.quantize(paths["fused"], "int8", calibration, target="cpu"))
    return path


def _ratio(file: Path, other: Path) -> float:
    """The ratio of two files in a fresh process."""
    code = (
        "import sys; from pathlib import Path; from footseg.export.speed import against; "
        "print(against(Path(sys.argv[1]), Path(sys.argv[2])).ratio)"
    )
    command = [sys.executable, "-c", code, str(file), str(other)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


class Book:
    """The results file: sections of rows, each with the key that says what it is of."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def rows(self) -> dict[str, list[dict[str, Any]]]:
        """What stands there, which another process may just have added to."""
        return json.loads(self.path.read_text(encoding="utf-8"))["rows"] if self.path.is_file() else {}

    def has(self, section: str, key: Mapping[str, Any]) -> bool:
        """Whether the row of a key is there."""
        return any(key.items() <= row.items() for row in self.rows().get(section, []))

    def add(self, section: str, key: Mapping[str, Any], found: Mapping[str, Any]) -> None:
        """Add a row and write the file."""
        rows = self.rows()
        rows.setdefault(section, []).append({**key, **found})
        what = (__doc__ or "").strip()
        files.write_json(self.path, {"what": what, "versions": provenance.versions(), "rows": rows})
        print(section, *key.values(), json.dumps(found), flush=True)  # noqa: T201


def main() -> None:
    """Do what is asked for and is not in the results file yet."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("options", "pictures", "times"))
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN", help="folders of runs, for pictures")
    parser.add_argument("--data", type=Path, metavar="DIR", help="data set with real pictures")
    parser.add_argument("--pictures", type=int, default=100, metavar="N", help="of test and validation (100)")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if lacking := install.missing(GPU):
        parser.error(str(lacking))
    if arguments.what == "pictures" and not (arguments.runs and arguments.data):
        parser.error("pictures needs RUN and --data")
    book = Book(arguments.out)
    if arguments.what == "options":
        options(book)
    elif arguments.what == "times":
        times(book)
    for run in arguments.runs:
        pictures(book, run, arguments.data, arguments.pictures)


if __name__ == "__main__":
    main()
