"""From a run to ``.onnx`` files: what they hold, what ONNX Runtime makes of them, what is refused."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from footseg import artifact, description, files, runtime
from footseg.errors import FootsegError
from footseg.export import ends, onnx, onnx_contents, onnx_ends, onnx_quantize, speed
from footseg.export.ends import Asked
from footseg.export.pipeline import export_run
from footseg.export.targets import asked_for
from footseg.graphs.onnx import read
from tests.red_network import red_network
from tests.small_graphs import onnx_file

package = pytest.importorskip("onnx", reason="reads ONNX files: pip install '.[onnx]'")
pytest.importorskip("onnx.reference")
pytest.importorskip("onnxruntime", reason="quantizes ONNX files: pip install '.[onnx]'")

KINDS = ("onnx", "onnx fp16", "onnx int8")


def kinds(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in package.load(path).graph.node)


# ---- what the files hold


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_of_the_lowest_versions_with_named_float_ends(
    kind: str, tiny_artifacts: dict[str, Path]
) -> None:
    proto = package.load(tiny_artifacts[kind])
    package.checker.check_model(proto, full_check=True)
    assert proto.ir_version == onnx.IR == 7
    assert [(opset.domain, opset.version) for opset in proto.opset_import] == [("", onnx.OPSET)]
    for (value,), name, shape in (
        (proto.graph.input, "image", [1, 64, 64, 3]),
        (proto.graph.output, "logits", [1, 64, 64, 2]),
    ):
        assert value.name == name
        assert value.type.tensor_type.elem_type == package.TensorProto.FLOAT
        assert [side.dim_value for side in value.type.tensor_type.shape.dim] == shape


def test_normalisation_is_folded_and_the_layout_turned_once_at_each_end(
    tiny_artifacts: dict[str, Path],
) -> None:
    proto = package.load(tiny_artifacts["onnx"])
    found = kinds(tiny_artifacts["onnx"])
    assert found["Add"] == 12  # the network's own
    assert not {"Mul", "Sub", "BatchNormalization", "ReduceMean", "Shape"} & set(found)
    assert found["Transpose"] == 2
    initializers = {tensor.name for tensor in proto.graph.initializer}
    assert initializers <= {name for node in proto.graph.node for name in node.input}


@pytest.mark.parametrize(
    ("kind", "weights", "group"), [("Conv", (6, 1, 3, 3), 6), ("ConvTranspose", (6, 4, 3, 3), 1)]
)
def test_what_normalisation_leaves_is_folded_into_the_weights(
    kind: str, weights: tuple[int, ...], group: int, tmp_path: Path
) -> None:
    channels = weights[0] if kind == "Conv" else weights[1]
    held = {"w": weights, "scale": (1, channels, 1, 1), "shift": (channels, 1, 1)}
    nodes = [
        (kind, ["x", "w"], ["a"], {"group": group}),
        ("Mul", ["a", "scale"], ["b"], {}),
        ("Add", ["b", "shift"], ["c"], {}),
        ("Relu", ["c"], ["y"], {}),
    ]
    shapes = {name: ("FLOAT", shape) for name, shape in held.items()}
    proto = package.load(onnx_file(tmp_path / "m.onnx", nodes, {"x": (1, 6, 8, 8)}, shapes, ["y"]))
    rng = np.random.default_rng(0)
    for tensor in proto.graph.initializer:
        values = rng.normal(size=tensor.dims).astype(np.float32)
        tensor.CopyFrom(package.numpy_helper.from_array(values, tensor.name))
    image = {"x": rng.normal(size=(1, 6, 8, 8)).astype(np.float32)}
    reference = package.reference.ReferenceEvaluator
    (before,) = reference(proto).run(None, image)
    onnx.fold_into_convolutions(proto)
    assert [node.op_type for node in proto.graph.node] == [kind, "Relu"]
    (after,) = reference(proto).run(None, image)
    # The same products, rounded once more or less.
    np.testing.assert_allclose(after, before, atol=1e-5)


def test_fp16_has_weights_and_arithmetic_in_float16(tiny_artifacts: dict[str, Path]) -> None:
    path = tiny_artifacts["onnx fp16"]
    graph = read(path)
    assert onnx_contents.contents(path).weights.keys() == {"float16"}
    computed = [o for o in graph.operators if o.op in ("Conv", "ConvTranspose", "Add", "Resize", "Relu")]
    assert {graph.tensors[operator.outputs[0]].kind for operator in computed} == {"float16"}
    assert kinds(path)["Cast"] == 2  # one at each end
    # Without its names and shapes a file is half as large.
    assert 0.5 < path.stat().st_size / tiny_artifacts["onnx"].stat().st_size < 0.6


def test_int8_is_quantized_by_channel_around_every_operator_that_multiplies(
    tiny_artifacts: dict[str, Path],
) -> None:
    path = tiny_artifacts["onnx int8"]
    graph = read(path)
    made = {operator.outputs[0]: operator for operator in graph.operators}
    multiplying = [operator for operator in graph.operators if operator.op in onnx_contents.WEIGHTS]
    assert len(multiplying) > 40
    for operator in multiplying:
        data, weights = (made[key] for key in operator.reads[:2])
        assert data.op == weights.op == "DequantizeLinear"
        assert graph.tensors[data.reads[0]].kind == "uint8"
        assert graph.tensors[weights.reads[0]].kind == "int8"
        scales = graph.tensors[weights.reads[1]].shape
        channels = graph.tensors[weights.reads[0]].shape[weights.options["axis"]]  # type: ignore[index]
        assert scales == (channels,)


def test_int8_loses_less_than_the_tolerances_and_is_not_the_fp32_file(
    tiny_artifacts: dict[str, Path],
) -> None:
    """The check of the export, seen from outside: rounding is there, and small."""
    noise = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    exact, rounded = (runtime.load(tiny_artifacts[kind]).logits(noise) for kind in ("onnx", "onnx int8"))
    difference = np.abs(exact - rounded).mean() / exact.std()
    assert 1e-4 < difference < 0.1  # noise lies beyond what was seen in calibration: thrice the tolerance


def test_sidecars_say_what_became_of_operators_and_what_accelerators_take(
    tiny_artifacts: dict[str, Path],
) -> None:
    fp32, fp16, int8 = (artifact.load(tiny_artifacts[kind]).details for kind in KINDS)
    assert fp32.keys() == {"accelerators"}
    # Core ML takes a graph of floats in one piece; NNAPI has no transposed convolution, and five are there.
    everything = sum(kinds(tiny_artifacts["onnx"]).values())
    assert fp32["accelerators"] == {
        "NNAPI": {"operators": everything, "taken": everything - 5, "parts": 6, "outside": ["ConvTranspose"]},
        "Core ML": {"operators": everything, "taken": everything, "parts": 1, "outside": []},
    }
    assert int8["accelerators"]["Core ML"]["outside"] == ["DequantizeLinear", "QuantizeLinear"]
    assert fp16["by"] == int8["by"] == "ONNX Runtime"
    assert fp16["float"] == {}  # of precisions in integers alone
    # ONNX Runtime has no transposed convolution in integers.
    assert int8["float"]["ConvTranspose"] == 5
    assert "Conv" not in int8["float"]
    assert int8["ranges"] == {"weights": "minmax", "activations": "minmax"}


def runnable(path: Path) -> Path:
    """A file of ``small_graphs`` in our versions, its output's type inferred."""
    proto = package.load(path)
    del proto.opset_import[:]
    proto.opset_import.append(package.helper.make_opsetid("", onnx.OPSET))
    path.write_bytes(onnx.checked(package.shape_inference.infer_shapes(proto)))
    return path


def test_operators_in_float_are_those_that_the_runtime_computes_so(tmp_path: Path) -> None:
    """A convolution between quantized tensors is one in integers, one whose result stays float is not."""
    weights = {"scale": ("FLOAT", ()), "zero": ("UINT8", ()), "w": ("INT8", (3, 3, 1, 1)), "wz": ("INT8", ())}
    quantized = [
        ("QuantizeLinear", ["x", "scale", "zero"], ["q"], {}),
        ("DequantizeLinear", ["q", "scale", "zero"], ["d"], {}),
        ("DequantizeLinear", ["w", "scale", "wz"], ["wd"], {}),
        ("Conv", ["d", "wd"], ["y"], {}),
    ]
    back = [
        ("QuantizeLinear", ["y", "scale", "zero"], ["yq"], {}),
        ("DequantizeLinear", ["yq", "scale", "zero"], ["z"], {}),
    ]
    inputs = {"x": (1, 3, 4, 4)}
    whole = runnable(onnx_file(tmp_path / "whole.onnx", [*quantized, *back], inputs, weights, ["z"]))
    half = runnable(onnx_file(tmp_path / "half.onnx", quantized, inputs, weights, ["y"]))
    assert onnx_contents.floats(whole) == {}
    assert onnx_contents.floats(half) == {"Conv": 1}
    assert onnx_contents.contents(half).weights == {"int8": {"Conv": 1}}


def test_what_decides_where_maxima_stood_stays_in_float(tmp_path: Path) -> None:
    weights = {"w": ("FLOAT", (4, 4, 1, 1)), "v": ("FLOAT", (4, 4, 1, 1))}
    nodes = [
        ("Conv", ["image", "w"], ["a"], {"name": "before"}),
        ("Ceil", ["a"], ["b"], {"name": "ceil"}),
        ("Conv", ["b", "v"], ["c"], {"name": "behind"}),
    ]
    path = runnable(onnx_file(tmp_path / "m.onnx", nodes, {"image": (1, 4, 4, 3)}, weights, ["c"]))
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), dtype=np.uint8)
    out = tmp_path / "int8.onnx"
    out.write_bytes(onnx_quantize.quantize(path, "int8", images))
    graph = read(out)
    made = {operator.outputs[0]: operator.op for operator in graph.operators}
    sources = {o.name: made.get(o.reads[1], "weights") for o in graph.operators if o.op == "Conv"}
    assert sources == {"before": "weights", "behind": "DequantizeLinear"}


def test_average_ranges_are_narrower_than_the_widest(tiny_artifacts: dict[str, Path]) -> None:
    path = tiny_artifacts["onnx"]
    images = np.zeros((4, 64, 64, 3), np.uint8)
    images[0] = np.random.default_rng(0).integers(0, 256, images[0].shape)

    def scales(ranges: str) -> np.ndarray:
        proto = package.load_from_string(onnx_quantize.quantize(path, "int8", images, ranges=ranges))
        held = {t.name: package.numpy_helper.to_array(t) for t in proto.graph.initializer}
        scaled = [node.input[1] for node in proto.graph.node if node.op_type == "QuantizeLinear"]
        return np.array([held[name] for name in scaled])

    widest, average = scales("minmax"), scales("average")
    # Three of the four images are black: the mean of their extremes and those of the bright one is smaller.
    assert (average <= widest).all()
    assert average.mean() < 0.9 * widest.mean()


def test_a_file_is_timed_against_its_fp32_one(tiny_artifacts: dict[str, Path]) -> None:
    found = speed.against(tiny_artifacts["onnx int8"], tiny_artifacts["onnx"], seconds=0)
    assert 0 < found.low <= found.ratio <= found.high
    assert (found.operators, found.rounds) == (0, speed.ROUNDS[0])


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_says_how_it_is_fed_and_where_it_comes_from(
    kind: str, tiny_run: Path, tiny_artifacts: dict[str, Path]
) -> None:
    import onnxruntime

    path = tiny_artifacts[kind]
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = session.get_modelmeta()
    assert found.producer_name == "footseg"
    properties = found.custom_metadata_map
    assert properties["Image.BitmapPixelFormat"] == "Rgb8"
    assert properties["Image.NominalPixelRange"] == "Normalized_0_1"
    assert properties["classes"].splitlines() == ["background", "foot"]
    said = description.read(properties["footseg"].encode())
    assert (said.network, said.size, said.input) == ("fast_linknet", (64, 64), "float32")
    assert said.recipe == artifact.load(path).recipe
    assert said.parent == files.sha256(tiny_run / "model.keras")
    feed = json.loads(properties["footseg"])["feed"]
    assert (feed["layout"], feed["range"], feed["padding"]) == ("NHWC", [0.0, 1.0], 128)
    graph = package.load(path).graph
    assert (graph.input[0].doc_string, graph.output[0].doc_string) == (said.feeding, said.reading)


def test_what_described_a_file_before_is_replaced(tiny_artifacts: dict[str, Path]) -> None:
    data = tiny_artifacts["onnx"].read_bytes()
    said = description.Description("other", ("sky", "sea"), (64, 64), input="uint8", recipe="fp32")
    once = onnx.describe(data, said)
    assert onnx.describe(once, said) == once
    properties = {p.key: p.value for p in package.load_from_string(once).metadata_props}
    assert properties["classes"] == "sky\nsea"
    assert properties["Image.NominalPixelRange"] == "NominalRange_0_255"


# ---- other ends


@pytest.mark.parametrize("takes", ["float32", "uint8"])
@pytest.mark.parametrize("gives", ["logits", "probabilities", "foreground", "mask"])
def test_a_file_has_the_ends_asked_for(takes: str, gives: str, tmp_path: Path) -> None:
    """Of a network of one matrix product; what it takes and gives is read from its graph, and held."""
    base = red_network(tmp_path / "base.onnx")
    proto = package.load(base)
    del proto.opset_import[:]
    proto.opset_import.append(package.helper.make_opsetid("", onnx.OPSET))
    proto.graph.node[-1].output[0] = proto.graph.output[0].name = "logits"
    base.write_bytes(onnx.checked(proto))
    path = tmp_path / "ends.onnx"
    path.write_bytes(onnx_ends.with_ends(base.read_bytes(), Asked(takes, gives)))
    found = runtime.load(path)
    assert (found.ends.input.name, found.ends.output.name, found.ends.classes) == (takes, gives, 2)
    images = np.random.default_rng(0).integers(0, 256, (3, *found.size, 3), dtype=np.uint8)
    held = ends.hold(path, base, images)
    assert held["pixels_equal"] == 1.0
    if gives == "mask":
        assert package.load(path).graph.output[0].type.tensor_type.elem_type == package.TensorProto.UINT8


def test_ends_are_put_once_and_foreground_is_of_two_classes(tmp_path: Path) -> None:
    data = red_network(tmp_path / "three.onnx", classes=3).read_bytes()
    with pytest.raises(FootsegError, match="this network has 3: ask for probabilities or mask"):
        onnx_ends.with_ends(data, Asked("float32", "foreground"))
    pixels = onnx_ends.with_ends(data, Asked("uint8", "logits"))
    with pytest.raises(FootsegError, match="only to a file that takes float32"):
        onnx_ends.with_ends(pixels, Asked("float32", "mask"))


@pytest.mark.slow
def test_export_names_ends_and_describes_them(tiny_run: Path, tmp_path: Path) -> None:
    (made,) = export_run(
        tiny_run, tmp_path, formats=["onnx"], precisions=["int8"], io="uint8", output="mask", speed=False
    )
    assert made.name == "fast_linknet_64x64_int8_in-uint8_out-mask.onnx"
    assert (made.input.name, made.output.name, made.output.type) == ("uint8", "mask", "uint8")
    assert made.verification["ends"]["pixels_equal"] + made.verification["ends"]["ties"] >= 1
    properties = {p.key: p.value for p in package.load(made.path).metadata_props}
    assert properties["Image.NominalPixelRange"] == "NominalRange_0_255"
    assert description.read(properties["footseg"].encode()).output == "mask"


# ---- asking for what there is not


def test_onnx_alone_in_a_precision_that_it_has_not(tiny_run: Path, tmp_path: Path) -> None:
    with pytest.raises(FootsegError, match="ONNX files are written in fp32, fp16, int8, not in int4w: take"):
        export_run(tiny_run, tmp_path / "out", formats=["onnx"], precisions=["int4w"])
    assert not (tmp_path / "out").exists()


def test_both_formats_say_which_onnx_is_not_made() -> None:
    said: list[str] = []
    targets = asked_for(["onnx", "tflite"], ["int8w", "int8", "fp32"], Asked(), said.append)
    assert [(t.format, t.precision) for t in targets] == [
        ("tflite", "fp32"),
        ("tflite", "int8"),
        ("tflite", "int8w"),
        ("onnx", "fp32"),
        ("onnx", "int8"),
    ]
    assert said == ["ONNX is written in fp32, fp16, int8 only: none in int8w"]


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"ranges": "octav"}, "clips no weights, as octav asks: take minmax or average for .onnx"),
        ({"io": "int8"}, "io int8 is for other files: export ONNX apart"),
        ({"keep": ["tensor"]}, "keep is for .tflite files: export ONNX apart"),
    ],
)
def test_options_that_an_int8_onnx_cannot_have(
    wrong: dict[str, Any], complaint: str, tiny_run: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=complaint):
        export_run(tiny_run, tmp_path / "out", formats=["tflite", "onnx"], precisions=["int8"], **wrong)
    assert not (tmp_path / "out").exists()


def test_no_images_and_a_broken_file(tiny_artifacts: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="int8 needs calibration images and got none"):
        onnx_quantize.quantize(tiny_artifacts["onnx"], "int8")
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(tiny_artifacts["onnx"].read_bytes()[:1000])
    with pytest.raises(FootsegError, match=r"^cut\.onnx in fp16 failed: "):
        onnx_quantize.quantize(cut, "fp16")
    assert [path.name for path in tmp_path.iterdir()] == ["cut.onnx"]


def test_a_run_trained_for_int8_says_that_its_onnx_is_calibrated(
    tiny_run: Path, tiny_data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for name in ("model.keras", "run.json"):
        (run / name).symlink_to(tiny_run / name)
    (run / "qat").mkdir()
    said: list[str] = []
    (made,) = export_run(
        run,
        tmp_path,
        formats=["onnx"],
        precisions=["int8"],
        speed=False,
        say=said.append,
        calibration_count=8,
    )
    assert "the .onnx in int8 is made of the float weights and calibrated: the ranges that" in said[0]
    assert made.details["by"] == "ONNX Runtime"
    assert made.calibration["count"] == 8
    assert json.loads(artifact.sidecar_path(made.path).read_text())["recipe"] == "int8"
