"""How long each operator of a file takes, by the runtime's own profiler.

The profiler takes time of its own, and LiteRT's tells whole microseconds, so these are runs apart from those
whose latency counts, and their sum is not quite that latency. Under XNNPACK the steps are the delegate's,
which adds some (Clamp for a fused activation) and leaves others out.
"""

import ctypes
import importlib.util
import json
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from footseg import runtime
from footseg.errors import FootsegError
from footseg.graphs.tflite import read

# One inference: each step's name in the file, what the runtime calls it, its milliseconds.
Steps = list[tuple[str, str, float]]

# --- LiteRT: its C interface, for the Python one does not show the profiler ----------------------

CPU, WRITE = 1, 1
# Kinds of events: an operator of the file; one inside a delegate; one that a delegate tells as the file's.
OPERATOR, INSIDE, OF_DELEGATE = 2, 4, 8
# What XNNPACK calls an operator of a file, where it does not use the same word.
XNNPACK = {
    "AVERAGE_POOL_2D": ("Average Pooling",),
    "BATCH_MATMUL": ("Batch Matrix Multiply",),
    "CEIL": ("Ceiling",),
    "CONCATENATION": ("Copy", "Concatenate"),
    "CONV_2D": ("Convolution", "Fully Connected"),
    "DEPTHWISE_CONV_2D": ("Convolution",),
    "DEQUANTIZE": ("Convert",),
    "LOGISTIC": ("Sigmoid",),
    "MAXIMUM": ("Maximum", "Clamp"),
    "MAX_POOL_2D": ("Max Pooling",),
    "MINIMUM": ("Minimum", "Clamp"),
    "MUL": ("Multiply",),
    "PAD": ("Constant Pad",),
    "PRELU": ("PReLU",),
    "QUANTIZE": ("Convert",),
    "RELU": ("Clamp",),
    "RELU6": ("Clamp",),
    "RESHAPE": ("Static Reshape", "Copy"),
    "SLICE": ("Slice", "Static Slice"),
    "SPLIT": ("Copy", "Split"),
    "STRIDED_SLICE": ("Slice", "Static Slice"),
    "SUB": ("Subtract",),
    "TRANSPOSE_CONV": ("Deconvolution",),
}
# Steps that finish the operator before them: its fused activation, its other outputs or inputs.
MORE = ("Clamp", "Copy")
# Operators that XNNPACK may merge into the one before them.
ACTIVATIONS = ("RELU", "RELU6", "RELU_N1_TO_1")


# What LiteRT calls to have an option freed.
_FREE = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class _Event(ctypes.Structure):
    _fields_ = (
        ("tag", ctypes.c_char_p),
        ("kind", ctypes.c_int32),
        ("start_us", ctypes.c_uint64),
        ("elapsed_us", ctypes.c_uint64),
        ("memory", ctypes.c_int64 * 6),
        ("metadata", ctypes.c_uint64 * 2),
        ("source", ctypes.c_int32),
    )


class _LiteRt:
    """LiteRT's C functions, by their names without the prefix; each of them makes, gets or does something."""

    def __init__(self, path: Path) -> None:
        spec = importlib.util.find_spec("ai_edge_litert")
        assert spec is not None and spec.origin is not None
        self._library = ctypes.CDLL(str(Path(spec.origin).with_name("libLiteRt.so")))
        self._path = path

    def do(self, name: str, *arguments: Any) -> None:
        """Call a function that gives a status."""
        status = getattr(self._library, f"LiteRt{name}")(*arguments)
        if status:
            raise FootsegError(f"LiteRT cannot profile {self._path}: {name} gave status {status}")

    def get(self, name: str, *arguments: Any) -> ctypes.c_void_p:
        """Call a function whose last argument is where it puts a handle; the handle."""
        handle = ctypes.c_void_p()
        self.do(name, *arguments, ctypes.byref(handle))
        return handle


def rows(model: Any, threads: int, runs: int) -> list[dict[str, Any]]:
    """The fields of ``measurement.OperatorTime`` of each step: the median of ``runs`` inferences.

    Args:
        model: what ``footseg.runtime`` made of a .tflite or .onnx file; it is loaded once more.
        threads: of the runtime.
        runs: inferences, 1 or more.

    Raises:
        FootsegError: LiteRT refuses one of the steps to a profile, or inferences differ in theirs.
    """
    lite = isinstance(model, runtime.TfliteSegmenter)
    found = list((_litert if lite else _onnx_runtime)(model, threads, runs))
    if len({len(steps) for steps in found}) > 1:
        raise FootsegError(f"{model.path} takes other steps in each inference: measure it without a profile")
    return [
        {"name": name, "op": op, "ms": statistics.median(one[i][2] for one in found), "runs": len(found)}
        for i, (name, op, _) in enumerate(found[0])
    ]


def _litert(model: runtime.TfliteSegmenter, threads: int, runs: int) -> Iterator[Steps]:
    api = _LiteRt(model.path)
    compiled, infer = _compiled(api, model, threads)
    infer()
    profiler, own = api.get("CompiledModelGetProfiler", compiled), operators(model.path)
    for _ in range(runs):
        api.do("StartProfiler", profiler)
        infer()
        api.do("StopProfiler", profiler)
        count = ctypes.c_int()
        api.do("GetNumProfilerEvents", profiler, ctypes.byref(count))
        events = (_Event * count.value)()
        api.do("GetProfilerEvents", profiler, count, events)
        steps = [e for e in events if e.kind in (OPERATOR, INSIDE, OF_DELEGATE)]
        tags = [step.tag.decode() for step in steps]
        names = own_names(tags, own)
        yield [(n, tag, step.elapsed_us / 1e3) for n, tag, step in zip(names, tags, steps, strict=True)]
        api.do("ResetProfiler", profiler)


def _compiled(
    api: _LiteRt, model: runtime.TfliteSegmenter, threads: int
) -> tuple[ctypes.c_void_p, Callable[[], None]]:
    """The file once more, with the profiler in it, and what runs it on noise."""
    first = ctypes.c_size_t(0)
    environment = api.get("CreateEnvironment", 0, None)
    file = api.get("CreateModelFromFile", environment, str(model.path).encode())
    options = api.get("CreateOptions")
    api.do("SetOptionsHardwareAccelerators", options, CPU)
    texts = {"xnnpack": f"num_threads = {threads}", "runtime_options_string": "enable_profiling = true"}
    kept = []  # LiteRT reads the texts later, and would free them itself: they are never to be freed
    for name, text in texts.items():
        kept.append((ctypes.create_string_buffer(text.encode()), _FREE(lambda _: None)))
        api.do("AddOpaqueOptions", options, api.get("CreateOpaqueOptions", name.encode(), *kept[-1]))
    compiled = api.get("CreateCompiledModel", environment, file, options)
    signature = api.get("GetModelSignature", file, first)

    def buffer(kind: str) -> ctypes.c_void_p:
        kind_of_tensor = (ctypes.c_byte * 256)()  # a struct of LiteRT's, only handed on
        tensor = api.get(f"GetSignature{kind}TensorByIndex", signature, first)
        api.do("GetRankedTensorType", tensor, kind_of_tensor)
        needs = api.get(f"GetCompiledModel{kind}BufferRequirements", compiled, first, first)
        return api.get("CreateManagedTensorBufferFromRequirements", environment, kind_of_tensor, needs)

    image, logits, one = buffer("Input"), buffer("Output"), ctypes.c_size_t(1)
    memory, noise = ctypes.c_void_p(), runtime.noise(model.input)
    api.do("LockTensorBuffer", image, ctypes.byref(memory), WRITE)
    ctypes.memmove(memory, noise.ctypes.data, noise.nbytes)
    api.do("UnlockTensorBuffer", image)

    def infer(kept: Any = kept) -> None:
        api.do("RunCompiledModel", compiled, first, one, ctypes.byref(image), one, ctypes.byref(logits))

    return compiled, infer


def operators(path: Path) -> list[tuple[str, str]]:
    """Kind and name of each operator of a ``.tflite`` that an inference runs: weights are unpacked before."""
    return [(operator.op, operator.name) for operator in read(path).operators if not operator.on_loading]


def own_names(tags: Sequence[str], operators: Sequence[tuple[str, str]]) -> list[str]:
    """The file's own name for each step that a runtime calls by one of ``tags``.

    Both lists are in execution order. A step is that of the next operator (kind, name) if its tag fits,
    of the operator before if it finishes it, else its tag is its name. An activation that has no step went
    into the operator before it. If that does not use up all operators, the delegate has made something else
    of the file, and all tags are kept.
    """

    def fits(tag: str, kind: str) -> bool:
        return tag.startswith((kind, *XNNPACK.get(kind, (kind.replace("_", " ").title(),))))

    names: list[str] = []
    waiting = list(operators)
    for tag in tags:
        while len(waiting) > 1 and waiting[0][0] in ACTIVATIONS and not fits(tag, waiting[0][0]):
            del waiting[0]
        if waiting and fits(tag, waiting[0][0]):
            names.append(waiting.pop(0)[1])
        elif names and tag.startswith(MORE):
            names.append(names[-1])
        else:
            names.append(tag)
    return list(tags) if waiting else names


# --- ONNX Runtime: a JSON file of events --------------------------------------------------------


def _onnx_runtime(model: runtime.OnnxSegmenter, threads: int, runs: int) -> Iterator[Steps]:
    import onnxruntime

    image = {model.input: runtime.noise({"shape": (1, *model.size, 3), "dtype": model.type})}
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.enable_profiling, options.profile_file_prefix = True, str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(str(model.path), options, providers=["CPUExecutionProvider"])
        for _ in range(runs + 1):  # the first is warm-up
            session.run(None, image)
        events = json.loads(Path(session.end_profiling()).read_bytes())
    steps: Steps = []
    finished = []
    for event in events:
        if event["cat"] == "Node" and event["name"].endswith("_kernel_time"):
            name = event["name"].removesuffix("_kernel_time")
            steps.append((name, event["args"]["op_name"], event["dur"] / 1e3))
        elif event["name"] == "model_run":
            finished.append(steps)
            steps = []
    yield from finished[1:]
