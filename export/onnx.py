"""The trained network as ``.onnx``: fp32, BatchNorm in inference mode, NHWC ends as the ``.tflite`` has."""

from typing import Any

import numpy as np

from footseg.description import Description
from footseg.errors import require
from footseg.export.conversion import conversion
from footseg.export.freeze import serving_function

# The lowest that has int8 by channel, so that one serves all precisions: by its Versioning.md ONNX Runtime
# reads 13 with IR 7 since 1.6, and 18 with IR 8 since 1.14. FastLinkNet and TipToe in 11 to 18 have the same
# operators and give the same bits in 0.97 to 1.03 of the time.
OPSET, IR = 13, 7
# Where weights have the channels that come out.
OUT_CHANNELS = {"Conv": 0, "ConvTranspose": 1}
# ONNX's words for what black and white are at the input.
PIXEL_RANGES = {(0.0, 1.0): "Normalized_0_1", (0.0, 255.0): "NominalRange_0_255"}


def convert(model: Any) -> bytes:
    """An ONNX file with the input ``image`` (1, H, W, 3) and the output ``logits`` (1, H, W, classes).

    Traced with ``training=False``: BatchNorm uses the statistics of training, not those of the image.

    Raises:
        FootsegError: the converter refused the network, or wrote a graph that ONNX's checker rejects.
        MissingExtraError: tf2onnx or onnx is not installed.
    """
    with conversion("conversion to ONNX"):
        tf2onnx = require("tf2onnx", "onnx")
        require("onnx", "onnx")
        from footseg.export.lowering import without_plain_groups

        function = serving_function(without_plain_groups(model))
        proto, _ = tf2onnx.convert.from_function(
            function, input_signature=function.input_signature, opset=OPSET
        )
        fold_into_convolutions(proto)
        return checked(proto)


def checked(proto: Any) -> bytes:
    """The bytes of a model of ``OPSET``, once ONNX's checker has passed it.

    Raises:
        onnx.checker.ValidationError: it has not.
    """
    import onnx

    # Converters and quantizers also name sets of operators that they do not use.
    domains = {node.domain for node in proto.graph.node}
    used = [opset for opset in proto.opset_import if opset.domain in domains]
    del proto.opset_import[:]
    proto.opset_import.extend(used)
    proto.ir_version = IR
    onnx.checker.check_model(proto, full_check=True)
    return proto.SerializeToString()


def describe(data: bytes, said: Description) -> bytes:
    """An ``.onnx`` that says what it is; what it said before is replaced.

    ``metadata_props`` have the keys that ONNX gives to images (its MetadataProps.md), the names of classes a
    line each, and under "footseg" all that footseg knows, as in a ``.tflite``. Texts for people stand where
    Netron shows them. The input is not marked as IMAGE: of those Windows ML asks for channels first.
    """
    import onnx

    proto = onnx.load_from_string(data)
    proto.producer_name, proto.producer_version, proto.doc_string = "footseg", said.footseg, said.text
    (image,), (output,) = proto.graph.input, proto.graph.output
    image.doc_string, output.doc_string = said.feeding, said.reading
    properties = {
        "Image.BitmapPixelFormat": "Rgb8",
        "Image.ColorSpaceGamma": "SRGB",
        "Image.NominalPixelRange": PIXEL_RANGES[said.range],
        "classes": "\n".join(said.channels),
        "footseg": said.to_bytes().decode(),
    }
    onnx.helper.set_model_props(proto, properties)
    return bytes(proto.SerializeToString())


def fold_into_convolutions(proto: Any) -> None:
    """Fold the Mul and Add by channel that BatchNorm leaves behind a convolution into its weights.

    tf2onnx folds them into plain ones only. Behind transposed ones ONNX Runtime keeps them, 4 % of
    FastLinkNet's time; behind depthwise ones it folds them when it loads floats, but quantizes each of them
    in int8: TipToe takes 1.24 of fp32's time with them and 0.87 without.
    """
    from onnx import numpy_helper

    graph = proto.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}

    def follower(node: Any, kind: str, channels: int) -> tuple[Any, np.ndarray] | None:
        """The only user of ``node``'s output, if it is a ``kind`` with one constant for each channel."""
        users = [user for user in graph.node if node.output[0] in user.input]
        if len(users) != 1 or users[0].op_type != kind or users[0].input[1] not in constants:
            return None
        value = numpy_helper.to_array(constants[users[0].input[1]])
        by_channel = value.ndim in (3, 4) and value.size == value.shape[-3] == channels
        return (users[0], value.reshape(-1)) if by_channel else None

    def constant(name: str, value: np.ndarray) -> str:
        graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
        return name

    for node in [node for node in graph.node if node.op_type in OUT_CHANNELS and len(node.input) == 2]:
        weights = numpy_helper.to_array(constants[node.input[1]])
        axis = OUT_CHANNELS[node.op_type]
        if scaled := follower(node, "Mul", weights.shape[axis]):
            multiply, scale = scaled
            by_channel = scale.reshape([-1 if side == axis else 1 for side in range(weights.ndim)])
            node.input[1] = constant(f"{node.output[0]}/scaled", weights * by_channel)
            node.output[0] = multiply.output[0]
            graph.node.remove(multiply)
        if shifted := follower(node, "Add", weights.shape[axis]):
            add, shift = shifted
            node.input.append(constant(f"{node.output[0]}/bias", shift))
            node.output[0] = add.output[0]
            graph.node.remove(add)
    used = {name for node in graph.node for name in node.input}
    for name in constants.keys() - used:
        graph.initializer.remove(constants[name])
