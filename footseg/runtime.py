"""One way to run any model file on images: ``.keras``, ``.tflite``, ``.onnx`` or the folder of a run.

Every runtime gets the same pixels, by ``to_float`` where a file does not take them itself, and gives float32
logits back, so that a difference between two files is a difference between the files and never one of
pre-processing. What a file gives (logits, probabilities, classes) is read from its graph.
"""

import platform
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from footseg import run as runs
from footseg.errors import FootsegError, first_line, require
from footseg.foreign import ends as foreign
from footseg.foreign.loading import load_keras
from footseg.graphs import ends, tflite
from footseg.graphs.ends import End, Ends
from footseg.graphs.graph import leading_to
from footseg.quiet import quiet
from footseg.segmenter import FileSegmenter, channels, check_images, image_to_map

SUFFIXES = (".keras", ".tflite", ".onnx")
COREML = ".mlpackage"
HDF5 = (".h5", ".hdf5")
ON_A_MAC = platform.system() == "Darwin"
# Bounds the float32 copy of the images (16 of 256x256 are 12.6 MB) however many are asked for.
KERAS_BATCH = 16
# Bytes 4 to 8 of every flatbuffer that holds a TFLite model.
TFLITE_IDENTIFIER = b"TFL3"
# How LiteRT names an operator that it lacks: custom ones, newer ones, those of TensorFlow itself.
UNKNOWN_OPERATOR = re.compile(
    r"unresolved custom op: (?P<custom>[^.\n]+)|op for builtin opcode '(?P<newer>\w+)'"
    r"|(?P<flex>Regular TensorFlow)"
)
# What ONNX Runtime calls the types of images, and of what else a network may give.
ONNX_INPUTS = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}
ONNX_TYPES = {**ONNX_INPUTS, "tensor(int32)": np.int32, "tensor(int64)": np.int64}


class Segmenter(Protocol):
    """A loaded model file. ``size`` is (height, width) in pixels; ``ends`` says what it takes and gives."""

    path: Path
    size: tuple[int, int]

    @property
    def ends(self) -> Ends:
        """What the file takes and gives.

        Raises:
            FootsegError: what it gives cannot be told.
        """
        ...

    @property
    def classes(self) -> int:
        """The number of classes that the file tells apart."""
        ...

    def values(self, images: np.ndarray) -> np.ndarray:
        """What the file itself gives for ``images``, uint8 (N, H, W, 3) RGB at ``size``.

        Returns:
            float32 (N, H, W, channels), the real numbers where the file has integers in their place.

        Raises:
            ValueError: the images have another shape or type.
            FootsegError: the file cannot be run.
        """
        ...

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Logits float32 (N, H, W, classes) of images as in ``values``; see ``Ends.logits``."""
        ...


@dataclass(frozen=True)
class Delegation:
    """How much of a ``.tflite`` the XNNPACK delegate runs, and in how many pieces.

    ``operators`` counts the file's operators, ``delegated`` those that the delegate took, and
    ``partitions`` the pieces it took them in: 1 with all operators delegated is the best there is,
    as each further piece costs a copy into and out of the delegate. ``outside`` counts the operators that
    were not taken, by their kind.
    """

    operators: int
    delegated: int
    partitions: int
    outside: Mapping[str, int] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """The share of operators that are delegated, 0 to 1."""
        return self.delegated / self.operators if self.operators else 0.0


def load(path: Path, threads: int = 1, said: foreign.Ends = foreign.NOTHING) -> Segmenter:
    """Load a model file, or the best weights of a run's folder.

    ``threads`` is honoured by LiteRT and ONNX Runtime; Keras uses its backend's own pool. ``said`` is what a
    ``.keras`` file takes and gives, where it does not tell.

    Raises:
        FootsegError: no such file, an unknown kind of file, a damaged one, or a network that is not
            one image (1, H, W, 3) in and one map (1, H, W, channels) out, or of whose map nobody can tell
            what it means.
        MissingExtraError: the package that runs this kind of file is not installed.
    """
    found = opened(path, threads, said)
    _ = found.ends
    return found


def opened(path: Path, threads: int = 1, said: foreign.Ends = foreign.NOTHING) -> Segmenter:
    """As ``load``, but what the file gives is found out when it is first asked for."""
    if path.suffix == COREML:
        return CoremlSegmenter(path)
    if path.is_dir():
        path = runs.load_trained(path).model
    if path.suffix not in SUFFIXES:
        how = "; load it with keras.saving.load_model and save it as .keras" if path.suffix in HDF5 else ""
        raise FootsegError(
            f"{path} is not a model footseg can run: give a {', '.join(SUFFIXES)} file or a run's folder{how}"
        )
    if not path.is_file():
        raise FootsegError(f"no such file: {path}")
    if path.suffix == ".keras":
        return KerasSegmenter(path, said)
    if path.suffix == ".tflite":
        return TfliteSegmenter(path, threads)
    return OnnxSegmenter(path, threads)


def to_float(images: np.ndarray) -> np.ndarray:
    """Pixels uint8 0 to 255 as the networks take them: float32 in [0, 1], same shape.

    Raises:
        ValueError: the images are not uint8.
    """
    if images.dtype != np.uint8:
        raise ValueError(
            f"images must be uint8 in 0 to 255, got {images.dtype}: pass the pixels as read from the file"
        )
    return images.astype(np.float32) / np.float32(255)


def interpreter(path: Path, threads: int = 1) -> Any:
    """An allocated LiteRT interpreter of a ``.tflite``, with XNNPACK on.

    Raises:
        FootsegError: the file is not a TFLite model or was cut off.
    """
    from ai_edge_litert.interpreter import Interpreter

    with path.open("rb") as file:
        if file.read(8)[4:] != TFLITE_IDENTIFIER:
            raise FootsegError(
                f"{path} is not a TFLite model (no {TFLITE_IDENTIFIER.decode()} mark): export it again"
            )
    try:
        # LiteRT checks every offset of the flatbuffer before it uses one: files cut at any byte
        # came back as ValueError, none crashed the process.
        with quiet():
            loaded = Interpreter(model_path=str(path), num_threads=threads)
            loaded.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        if unknown := UNKNOWN_OPERATOR.search(str(error)):
            needed = unknown["custom"] or unknown["newer"] or "of TensorFlow itself"
            raise FootsegError(
                f"{path} needs an operator that LiteRT here does not have ({needed}): build the network "
                "without it, of LiteRT's own operators alone"
            ) from error
        raise FootsegError(f"{path} is damaged or cut off ({first_line(error)}): export it again") from error
    return loaded


def delegation(path: Path, threads: int = 1) -> Delegation:
    """Count the operators of a ``.tflite`` and those that XNNPACK runs.

    LiteRT appends one DELEGATE node for each partition to the file's own operators and does not say
    which of them it replaced, so they are found by walking from a partition's outputs back to its inputs.

    Raises:
        FootsegError: the file is not a TFLite model or was cut off.
    """
    nodes = interpreter(path, threads)._get_ops_details()  # nothing public tells partitions
    partitions = [node for node in nodes if node["op_name"] == "DELEGATE"]
    operators = tflite.read(path).operators
    delegated: set[int] = set()
    for partition in partitions:
        delegated |= leading_to(operators, partition["outputs"], given=partition["inputs"])
    outside = Counter(o.op for index, o in enumerate(operators) if index not in delegated)
    return Delegation(
        operators=len(operators),
        delegated=len(delegated),
        partitions=len(partitions),
        outside=dict(outside.most_common()),
    )


class KerasSegmenter:
    """A ``.keras`` file in inference mode, under whichever backend Keras was started with.

    ``reading`` says what the network in the file takes and gives; ``model`` is it as footseg has its own.
    """

    def __init__(self, path: Path, said: foreign.Ends = foreign.NOTHING) -> None:
        loaded = load_keras(path)
        from footseg.foreign import reading
        from footseg.foreign.canonical import canonical

        self.reading = reading.read(loaded, said)
        self.model = canonical(loaded, self.reading, said.size)
        self.path = path
        inputs = [tuple(tensor.shape) for tensor in self.model.inputs]
        outputs = [tuple(tensor.shape) for tensor in self.model.outputs]
        self.size = image_to_map(path, inputs, outputs)
        self.classes: int = outputs[0][3]
        self.ends = Ends(
            End("float32", "float32", ends.INPUTS["float32"]),
            End("logits", "float32", ends.OUTPUTS["logits"]),
            self.classes,
        )

    def values(self, images: np.ndarray) -> np.ndarray:
        """Logits: what is trained here gives nothing else; see ``Segmenter``."""
        return self.logits(images)

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Logits float32 (N, H, W, classes) of uint8 (N, H, W, 3) images; see ``Segmenter``."""
        check_images(images, self.size)
        out = np.empty((len(images), *self.size, self.classes), np.float32)
        for start in range(0, len(images), KERAS_BATCH):
            chunk = slice(start, start + KERAS_BATCH)
            out[chunk] = self.model.predict_on_batch(to_float(images[chunk]))
        return out


class TfliteSegmenter(FileSegmenter):
    """A ``.tflite`` file, float or quantized, run by LiteRT one image at a time."""

    def __init__(self, path: Path, threads: int) -> None:
        self.interpreter = interpreter(path, threads)
        inputs, outputs = self.interpreter.get_input_details(), self.interpreter.get_output_details()
        self.path = path
        shapes = [_signature(tensor) for tensor in outputs]
        self.size = image_to_map(path, [_signature(tensor) for tensor in inputs], shapes)
        self.channels = channels(shapes[0])
        self.input, self.output = inputs[0], outputs[0]
        if self.input["dtype"] == np.int8 and not self.input["quantization"][0]:
            raise FootsegError(
                f"{path} takes int8 without a scale, which cannot hold pixels: quantize its input, or let it "
                "take uint8 or float32"
            )

    def fed(self, image: np.ndarray) -> np.ndarray:
        """See ``FileSegmenter``."""
        return _quantize(image, self.input)

    def _one(self, image: np.ndarray) -> np.ndarray:
        self.interpreter.set_tensor(self.input["index"], self.fed(image))
        try:
            self.interpreter.invoke()
        except RuntimeError as error:  # For one: variables that nobody froze and nothing fills.
            raise FootsegError(
                f"LiteRT cannot run {self.path}: {first_line(error)}; export it again"
            ) from error
        return _dequantize(self.interpreter.get_tensor(self.output["index"]), self.output)


class OnnxSegmenter(FileSegmenter):
    """An ``.onnx`` file, run by ONNX Runtime on the processor one image at a time.

    ``input`` is the name of its input and ``type`` what that takes: float32 or float16 in [0, 1], or uint8
    pixels.
    """

    def __init__(self, path: Path, threads: int) -> None:
        onnxruntime = require("onnxruntime", "onnx")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Errors reach us as exceptions; warnings are for ONNX Runtime's makers.
        options.log_severity_level = 3
        try:
            self.session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's own kinds share no base but Exception.
            raise FootsegError(
                f"ONNX Runtime cannot load {path} ({first_line(error)}): export it again"
            ) from error
        inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        self.path = path
        shapes = [tuple(tensor.shape) for tensor in outputs]
        self.size = image_to_map(path, [tuple(tensor.shape) for tensor in inputs], shapes)
        self.channels = channels(shapes[0])
        if inputs[0].type not in ONNX_INPUTS:
            raise FootsegError(
                f"{path} takes {inputs[0].type}: footseg runs ONNX files that take {', '.join(ONNX_INPUTS)}"
            )
        self.input, self.type = inputs[0].name, np.dtype(ONNX_INPUTS[inputs[0].type])

    def fed(self, image: np.ndarray) -> np.ndarray:
        """See ``FileSegmenter``."""
        return image if self.type == np.uint8 else to_float(image).astype(self.type)

    def _one(self, image: np.ndarray) -> np.ndarray:
        try:
            values = self.session.run(None, {self.input: self.fed(image)})[0]
        except Exception as error:  # as above; for one: shapes that do not fit, which loading does not find
            raise FootsegError(
                f"ONNX Runtime cannot run {self.path} ({first_line(error)}): export it again"
            ) from error
        return np.asarray(values).astype(np.float32)


class CoremlSegmenter:
    """An ``.mlpackage``, run by Core ML on the processor of a Mac; it takes pixels and gives logits."""

    def __init__(self, path: Path) -> None:
        if not ON_A_MAC:
            alone = (
                "runs on macOS and iOS alone: give the .tflite or .onnx of its run, or look at it on a Mac"
            )
            raise FootsegError(f"{path} is a Core ML model, which {alone}")
        if not path.is_dir():
            raise FootsegError(f"no such file: {path}")
        tools = require("coremltools", "coreml")
        try:
            self.model = tools.models.MLModel(str(path), compute_units=tools.ComputeUnit.CPU_ONLY)
        except Exception as error:  # Core ML's errors come as one kind and another.
            raise FootsegError(f"Core ML cannot load {path} ({first_line(error)}): export again") from error
        described = self.model.get_spec().description
        (image,), (output,) = described.input, described.output
        self.path, self.input, self.output = path, str(image.name), str(output.name)
        self.size = (int(image.type.imageType.height), int(image.type.imageType.width))
        self.classes = int(output.type.multiArrayType.shape[-1])
        self.ends = ends.pixels_to_logits(self.classes)

    def values(self, images: np.ndarray) -> np.ndarray:
        """Logits: what is exported gives nothing else; see ``Segmenter``."""
        return self.logits(images)

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Logits float32 (N, H, W, classes) of uint8 (N, H, W, 3) images; see ``Segmenter``."""
        check_images(images, self.size)
        fed = [{self.input: Image.fromarray(image)} for image in images]
        return np.concatenate([self.model.predict(one)[self.output] for one in fed]).astype(np.float32)


def inference(model: Segmenter) -> Callable[[], Any]:
    """One inference of noise with its input and output already in place, as in an app that reuses buffers.

    Raises:
        ValueError: the model is of Keras.
    """
    if isinstance(model, TfliteSegmenter):
        model.interpreter.set_tensor(model.input["index"], noise(model.input))
        return model.interpreter.invoke
    if not isinstance(model, OnnxSegmenter):
        raise ValueError(f"{model.path} is no file that apps run: export it")
    import onnxruntime

    value = onnxruntime.OrtValue.ortvalue_from_numpy
    (image,), (output,) = model.session.get_inputs(), model.session.get_outputs()
    binding = model.session.io_binding()
    binding.bind_ortvalue_input(
        image.name, value(noise({"shape": image.shape, "dtype": ONNX_TYPES[image.type]}))
    )
    binding.bind_ortvalue_output(output.name, value(np.empty(output.shape, ONNX_TYPES[output.type])))
    return lambda: model.session.run_with_iobinding(binding)


def noise(tensor: Mapping[str, Any]) -> np.ndarray:
    """What to time an input tensor with: noise over its range, always the same, by its "shape" and "dtype".

    Most kernels' time does not depend on the values.
    """
    values = np.random.default_rng(0).random(tuple(tensor["shape"]), dtype=np.float32)
    if np.dtype(tensor["dtype"]).kind == "f":
        return values.astype(tensor["dtype"])
    limits = np.iinfo(tensor["dtype"])
    return (limits.min + values * (limits.max - limits.min)).astype(tensor["dtype"])


def _quantize(image: np.ndarray, tensor: dict[str, Any]) -> np.ndarray:
    """Pixels uint8 as ``tensor`` takes them: floats, codes by scale and zero point, pixels without these."""
    kind, (scale, zero_point) = tensor["dtype"], tensor["quantization"]
    if np.dtype(kind).kind == "f":
        return to_float(image).astype(kind)
    if not scale:
        return image.astype(kind)
    limits = np.iinfo(kind)
    return np.clip(np.rint(to_float(image) / scale) + zero_point, limits.min, limits.max).astype(kind)


def _dequantize(values: np.ndarray, tensor: dict[str, Any]) -> np.ndarray:
    """The real numbers, float32, that ``values`` of ``tensor`` stand for."""
    scale, zero_point = tensor["quantization"]
    if values.dtype.kind not in "iu" or not scale:
        return values.astype(np.float32)
    return (values.astype(np.float32) - zero_point) * np.float32(scale)


def _signature(tensor: dict[str, Any]) -> tuple[int, ...]:
    """A tensor's shape as the file states it, -1 where it is free."""
    return tuple(int(size) for size in tensor["shape_signature"])
