"""The whole files that are damaged: a data set, runs, artifacts, measurements, searches, all of 64x64 pixels.

Each is written by the command that users write it with, in minutes, and kept.
"""

import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Collection
from pathlib import Path

from footseg import children, files

# A network of seconds: all that reads a file reads that of a larger one in the same way.
NETWORK = "tiptoe"
OPTIONS = ("width=0.5", "blocks2=1", "blocks3=1", "blocks4=1")
SIZE = ("--size", "64", "--batch", "4", "--ema", "0")
TRAINING = [NETWORK, "--data", "data", *SIZE, *(w for o in OPTIONS for w in ("--network-options", o))]
CONFIG = """\
network = "tiptoe"
data = "data"
size = [64, 64]
batch = 4
epochs = 1
loss = ["ce", "iou:0.5"]
class_weights = ["1", "2.5"]

[network_options]
width = 0.5
"""
LOG = Path(__file__).resolve().parents[3] / "tests" / "benchmark_logs" / "2025.txt"
DATASET = """\
classes = ["background", "foot"]
colours = [[0, 0, 0], "#009ee0"]
"""
ORIENTATION, MAKER = 0x0112, 0x010F
SPACE = """\
learning_rate = { log_uniform = [1e-4, 1e-2] }
flip = 0.5
weight_decay = { choice = [0.0, 0.1] }
network_options.width = { uniform = [0.5, 1.0], step = 0.25 }
loss = { choice = [{ value = ["ce"] }, { value = ["ce", "iou:{weight}"], weight = { uniform = [0, 1] } }] }
"""


def make(folder: Path, wanted: Collection[str] | None = None) -> None:
    """Make what is not there yet, all or what is ``wanted``; what was begun and not ended is made anew.

    The folder must stay where it is: runs know the place of their data.
    """
    (folder / ".made").mkdir(parents=True, exist_ok=True)
    for name, work in PARTS.items():
        if wanted is not None and name not in wanted:
            continue
        mark = folder / ".made" / name
        if not mark.exists():
            shutil.rmtree(folder / name, ignore_errors=True)
            (folder / name).unlink(missing_ok=True)
            work(folder)
            mark.touch()


def footseg(folder: Path, *words: str) -> None:
    """Run one command in the folder.

    Raises:
        RuntimeError: it failed; its last words.
    """
    done = subprocess.run(
        [*children.command("footseg"), *words],
        cwd=folder, env=children.environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"footseg {' '.join(words)} ended with {done.returncode}: {done.stderr[-2000:]}")


def interrupted(folder: Path, begun: str, *words: str) -> None:
    """Run one command and interrupt it as soon as a file that matches ``begun`` is there."""
    process = subprocess.Popen(
        [*children.command("footseg"), *words],
        cwd=folder, env=children.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while process.poll() is None and not list(folder.glob(begun)):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    process.wait()


def _photographs(folder: Path) -> None:
    """One picture in all formats that are read; the JPEG with EXIF that turns it, the GIF with a palette."""
    from PIL import Image, ImageCms

    out = folder / "photographs"
    out.mkdir()
    with Image.open(sorted((folder / "data" / "test" / "images").iterdir())[0]) as opened:
        image = opened.convert("RGB")
    exif = Image.Exif()
    exif[ORIENTATION], exif[MAKER] = 6, "a camera"
    image.save(
        out / "photo.jpg",
        exif=exif,
        icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
    )
    for suffix in ("png", "webp", "tiff", "bmp", "gif"):
        image.save(out / f"photo.{suffix}")


def _masks(folder: Path) -> None:
    """A data set whose masks are indexed, grey and RGB, its classes and colours in a dataset.toml."""
    import numpy as np
    from PIL import Image

    out = folder / "masks"
    shutil.copytree(folder / "data" / "test", out / "train")
    (out / "dataset.toml").write_text(DATASET, encoding="utf-8")
    for path, mode in zip(sorted((out / "train" / "masks").iterdir()), ("P", "L", "RGB"), strict=False):
        with Image.open(path) as opened:
            grey = Image.fromarray(np.asarray(opened))
        if mode == "P":
            grey = grey.convert("L")
            grey.putpalette([0, 0, 0, 0, 158, 224])
        else:
            grey = grey.convert(mode)
        grey.save(path)


def _app(folder: Path) -> None:
    """What a perfect app gives: the golden vectors themselves, one mask as a raw file."""
    import numpy as np
    from PIL import Image

    shutil.copytree(folder / "golden", folder / "app")
    mask = sorted((folder / "app").glob("*/mask.png"))[0]
    with Image.open(mask) as opened:
        mask.with_suffix(".bin").write_bytes(np.asarray(opened).tobytes())
    mask.unlink()


def _external(folder: Path) -> None:
    """The fp32 ONNX file with its weights in a file beside it."""
    import onnx

    out = folder / "external"
    out.mkdir()
    onnx.save(
        onnx.load(next((folder / "files").glob("*fp32.onnx"))), out / "net.onnx",
        save_as_external_data=True, location="weights.bin", size_threshold=0,
    )  # fmt: skip


def _coreml(folder: Path) -> None:
    """A Core ML package in its layout, and its sidecar: footseg reads no more of it than its bytes."""
    package = folder / "coreml" / Path(TFLITE).with_suffix(".mlpackage").name
    model = package / "Data" / "com.apple.CoreML" / "model.mlmodel"
    model.parent.mkdir(parents=True)
    model.write_bytes((folder / ONNX).read_bytes()[:4096])
    files.write_text(package / "Manifest.json", '{"fileFormatVersion": "1.0.0"}\n')
    said = files.read_json(folder / f"{TFLITE}.json")
    said |= {"name": package.name, "format": "coreml", "sha256": files.sha256(package)}
    files.write_json(package.with_name(f"{package.name}.json"), said)


def _theirs(folder: Path) -> None:
    """Files without sidecars, as other people's are."""
    out = folder / "theirs"
    out.mkdir()
    for path in (folder / "files").iterdir():
        if path.suffix in (".tflite", ".onnx"):
            shutil.copyfile(path, out / path.name)


def _text(name: str, content: str) -> Callable[[Path], None]:
    return lambda folder: files.write_text(folder / name, content)


def _by(*words: str) -> Callable[[Path], None]:
    return lambda folder: footseg(folder, *words)


def _files(folder: Path) -> None:
    made = (
        "export",
        "run",
        "--out",
        "files",
        "--no-speed",
        "--no-clients",
        "--images",
        "4",
        "--calibration",
        "4",
    )
    footseg(folder, *made, "--to", "tflite", "onnx", "--precision", "fp32", "int8")


RUNNER = """\
@footseg {"cores": [0, 1]}
@footseg {"load_ms": 5.5}
@footseg {"first_ms": 2.25}
@footseg {"input": {"name": "image", "type": "int8", "shape": [1, 2, 2, 3], "scale": 0.5, "zero_point": -1}}
@footseg {"output": {"name": "out", "type": "float32", "shape": [1, 2, 2, 2]}}
@footseg {"fully_accelerated": true}
@footseg {"gflops": 30.5}
@footseg {"samples_ms": [1.0, 2.5]}
@footseg {"operator": ["Add (ND)", 7]}
@footseg {"gflops": 31.0}
@footseg {"images": 4}
@footseg {"peak_memory_mb": 12.5}
@footseg {"done": true}
"""
EXPORT = ("export", "run", "--no-speed", "--no-clients", "--images", "4", "--calibration", "4")
STEP = ("--prune", "0.5", "--set", "epochs=1")
TFLITE, INT8, ONNX = (f"files/{NETWORK}_64x64_{end}" for end in ("fp32.tflite", "int8.tflite", "fp32.onnx"))
SEARCH = (
    "search",
    "--space",
    "space.toml",
    "--trials",
    "2",
    "--against",
    "size",
    "--data",
    "data",
    *SIZE,
    "--epochs",
    "1",
)
PARTS: dict[str, Callable[[Path], object]] = {
    "data": _by("data", "synth", "data", "--train", "8", "--val", "4", "--test", "4", "--size", "64"),
    "photographs": _photographs,
    "masks": _masks,
    "config.toml": _text("config.toml", CONFIG),
    "space.toml": _text("space.toml", SPACE),
    "run": _by("train", *TRAINING, "--epochs", "2", "--out", "run"),
    "unfinished": lambda folder: interrupted(
        folder, "unfinished/history.csv", "train", *TRAINING, "--epochs", "8", "--out", "unfinished"
    ),
    "files": _files,
    "theirs": _theirs,
    "evaluation": _by("evaluate", TFLITE, "--data", "data", "--out", "evaluation"),
    "results.jsonl": _by(
        "bench", TFLITE, INT8, ONNX, "--runs", "3", "--seconds", "1", "--out", "results.jsonl"
    ),
    "verified.html": lambda folder: interrupted(
        folder, "verified.json", "verify", TFLITE, "--on", "cpu", "half", "--images", "2", "--out",
        "verified.html"
    ),
    "golden": _by("golden", "make", TFLITE, "--out", "golden"),
    "app": _app,
    "external": _external,
    "search": _by(*SEARCH, "tiptoe", "--out", "search"),
    "sensitivity": _by("export", "run", "--out", "sensitivity", "--sensitivity", "--images", "4"),
    "auto": _by("export", "run", "--out", "auto", "--auto", "0.5", "--images", "4", "--fast", "--no-speed",
    "--no-clients"),
    "compressed": _by("compress", "run", "--out", "compressed", *STEP),
    "begun": lambda folder: interrupted(
        folder, "begun/steps/2_prune/history.csv", "compress", "run", "--out", "begun", *STEP,
        "--prune", "0.6", "--set", "epochs=8",
    ),
    "study": _by("study", "run", "compressed", "--out", "study", "--precision", "fp32"),
    "runner.txt": _text("runner.txt", RUNNER),
    "benchmark_model.txt": lambda folder: shutil.copyfile(LOG, folder / "benchmark_model.txt"),
    "client.txt": _text("client.txt", '{"version": "LiteRT 2.3.0"}\n'),
    "labels.txt": _text("labels.txt", "background\nfoot\n"),
    "coreml": _coreml,
}  # fmt: skip
