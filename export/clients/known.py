"""What a client is, and the clients that footseg knows: a row each. Nothing heavy is imported here."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from footseg.errors import check_known


@dataclass(frozen=True)
class Need:
    """A program or library of the system that a client needs: where it may be, and Debian's package.

    One of the variables ``instead`` names another.
    """

    name: str
    package: str
    paths: tuple[str, ...]
    instead: tuple[str, ...] = ()

    def path(self) -> Path | None:
        """Where it is; None where it is not."""
        for path in self.paths:
            place = Path(path) if Path(path).is_absolute() else Path(shutil.which(path) or "")
            if place.is_file():
                return place
        return None

    @property
    def met(self) -> bool:
        """Whether it, or another instead, is there."""
        return any(os.environ.get(name) for name in self.instead) or self.path() is not None


@dataclass(frozen=True)
class Client:
    """A runtime of other people's.

    ``name`` is its name on the command line, ``title`` in tables. ``script`` (of scripts/) runs a file;
    ``arguments`` follow its file names, with {modules} filled in. It runs in ``environment``, a Python of
    its own made of ``packages``, for which there are wheels up to ``newest_python``; or, where that is empty,
    in ours, in which the ``extra`` of footseg brings the packages. ``system``, as Python's
    ``platform.system`` names it, is the one that it runs on, where there is but one. ``npm`` are packages of
    JavaScript. What it gives is an array like the file's output, or ``masks``. With ``half`` it runs the
    file's half precision, simulated, instead of the file. ``quick`` says that it starts in a second or two,
    so that export asks it, too. One that ``reads`` opens a file and runs nothing: it gives kinds of
    operators, in order. One that is asked ``by_name`` only gets most files wrong by faults of its own
    (docs/clients.md).
    """

    name: str
    title: str
    suffixes: tuple[str, ...]
    script: str
    arguments: tuple[str, ...] = ()
    environment: str = ""
    packages: tuple[str, ...] = ()
    newest_python: tuple[int, int] | None = None
    extra: str = ""
    system: str = ""
    npm: tuple[str, ...] = ()
    needs: tuple[Need, ...] = ()
    masks: bool = False
    half: bool = False
    quick: bool = False
    reads: bool = False
    by_name: bool = False

    @property
    def modules(self) -> str:
        """Where its packages of JavaScript are, beside the environments; "" without any."""
        package = self.npm[0].rpartition("@")[0].strip("@") if self.npm else ""
        return package and f"{package.replace('/', '-')}/node_modules"


DRIVERS = ("VK_ICD_FILENAMES", "VK_DRIVER_FILES")
SWIFTSHADER = Need("libvk_swiftshader.so", "chromium", ("/usr/lib/chromium/libvk_swiftshader.so",), DRIVERS)
VULKAN = Need(
    "libvulkan.so.1",
    "libvulkan1",
    ("/usr/lib/x86_64-linux-gnu/libvulkan.so.1", "/usr/lib/aarch64-linux-gnu/libvulkan.so.1"),
)
CHROMIUM = Need("chromium", "chromium", ("chromium", "google-chrome", "chrome"))
NODE = Need("node", "nodejs", ("node",))
LITERT_JS, ORT_WEB = ("@litertjs/core@2.5.3",), ("onnxruntime-web@1.30.0",)
MNN = ("MNN==3.6.1", "numpy==2.4.6")
TFLITE = (".tflite",)

CLIENTS = (
    Client("cpu", "LiteRT, CPU", TFLITE, "litert.py", ("cpu",)),
    Client("half", "LiteRT, CPU, half precision", TFLITE, "litert.py", ("cpu",), half=True, quick=True),
    Client(
        "gpu", "LiteRT, GPU alone", TFLITE, "litert.py", ("gpu",), needs=(SWIFTSHADER, VULKAN), quick=True,
    ),
    Client(
        "ort", "ONNX Runtime", (".onnx",), "onnx_runtime.py",
        packages=("onnxruntime",), extra="onnx", quick=True,
    ),
    Client(
        "openvino", "OpenVINO", (".tflite", ".onnx"), "openvino_.py",
        environment="openvino", packages=("openvino==2026.4.1",), quick=True,
    ),
    Client(
        "mediapipe", "MediaPipe", TFLITE, "mediapipe_.py",
        environment="mediapipe", packages=("mediapipe==1.2.2",), masks=True, quick=True,
    ),
    Client(
        "tf213", "TensorFlow Lite 2.13", TFLITE, "interpreter.py", ("tensorflow",),
        environment="tf213", packages=("tensorflow-cpu==2.13.1",), newest_python=(3, 11),
    ),
    Client(
        "tflite_runtime", "tflite-runtime 2.14", TFLITE, "interpreter.py", ("tflite_runtime",),
        environment="tflite_runtime", packages=("tflite-runtime==2.14.0", "numpy==1.26.4"),
        newest_python=(3, 11),
    ),
    Client("mnn", "MNN", (".onnx",), "mnn_.py", environment="mnn", packages=MNN),
    Client(
        "mnn_tflite", "MNN, its reader of .tflite", TFLITE, "mnn_.py",
        environment="mnn", packages=MNN, by_name=True,
    ),
    Client(
        "tf2onnx", "tf2onnx, ONNX Runtime", TFLITE, "tf2onnx_.py",
        packages=("tf2onnx", "onnxruntime", "tensorflow"), extra="onnx",
    ),
    Client(
        "web", "LiteRT.js, wasm", TFLITE, "web.py", ("litert", "wasm", "{modules}"),
        npm=LITERT_JS, needs=(CHROMIUM,),
    ),
    Client(
        "webgpu", "LiteRT.js, WebGPU", TFLITE, "web.py", ("litert", "webgpu", "{modules}"),
        npm=LITERT_JS, needs=(CHROMIUM, SWIFTSHADER),
    ),
    Client(
        "ort_web", "ONNX Runtime Web", (".onnx",), "web.py", ("onnx", "wasm", "{modules}"),
        npm=ORT_WEB, needs=(CHROMIUM,),
    ),
    Client(
        "netron", "Netron", TFLITE, "netron_.py",
        environment="netron", packages=("netron==9.3.3", "numpy==2.4.6"), needs=(NODE,), reads=True,
    ),
    Client(
        "metadata_writer", "MediaPipe's metadata writer", TFLITE, "metadata_writer.py",
        environment="metadata_writer", newest_python=(3, 12), reads=True,
        # The last MediaPipe whose writer can be imported; of what it asks for, the writer needs these.
        packages=(
            "--no-deps", "mediapipe==0.10.21", "absl-py==2.3.1", "flatbuffers==25.12.19", "numpy==1.26.4",
        ),
    ),
    Client(
        "coreml", "Core ML", (".mlpackage",), "coreml_.py",
        packages=("coremltools",), extra="coreml", system="Darwin",
    ),
)  # fmt: skip


def named(names: Sequence[str]) -> tuple[Client, ...]:
    """The clients of these names, in the order of ``CLIENTS``.

    Raises:
        ValueError: there is none of a name; the nearest is suggested.
    """
    for name in names:
        check_known("no client", name, [client.name for client in CLIENTS])
    return tuple(client for client in CLIENTS if client.name in names)
