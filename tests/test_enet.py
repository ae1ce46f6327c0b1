"""ENet: its counts by a formula of its own, unpooling against numpy, and what its exported files hold."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from footseg import networks, runtime
from footseg.benchmarks.cost import cost_of_keras
from footseg.errors import FootsegError
from footseg.export import freeze, quantize, tflite, verify
from footseg.export.pipeline import export_run
from footseg.export.precisions import PRECISIONS
from footseg.graphs.tflite import read
from footseg.run import Run
from tests.canonical import canonical
from tests.runs import save_run

tf = pytest.importorskip("tensorflow", reason="converts the networks: pip install '.[train]'")
keras = pytest.importorskip("keras", reason="makes the networks: pip install '.[train]'")

from footseg.networks import _unpool  # noqa: E402  (needs Keras)

# ---- counts, from the paper's table 1 and the released code


class Count:
    """Adds up convolutions (weights, biases, multiply-accumulates), normalised channels and PReLU slopes."""

    def __init__(self, scale: int, slopes: bool) -> None:
        self.scale, self.with_slopes = scale, slopes
        self.weights = self.normalised = self.slopes = self.macs = 0

    def conv(self, pixels: int, inputs: int, outputs: int, taps: int = 1, *, bias: bool = False) -> None:
        """``pixels`` are those at which each tap is used: the output's, of a transposed one the input's."""
        self.weights += taps * inputs * outputs + bias * outputs
        self.macs += pixels * taps * inputs * outputs

    def norm(self, channels: int, *, encoder: bool) -> None:
        self.normalised += channels
        self.slopes += channels * encoder * self.with_slopes

    def block(self, pixels: int, inputs: int, outputs: int, kind: str, *, encoder: bool = True) -> None:
        """A bottleneck whose output has ``pixels``."""
        inner = outputs // self.scale
        before = pixels // 4 if kind == "up" else pixels
        self.conv(before, inputs, inner, 4 if kind == "down" else 1)
        if kind == "asymmetric":
            self.conv(pixels, inner, inner, 5)
            self.conv(pixels, inner, inner, 5, bias=True)
        else:
            self.conv(before, inner, inner, 9, bias=True)
        self.conv(pixels, inner, outputs)
        for channels in (inner, inner):
            self.norm(channels, encoder=encoder)
        self.normalised += outputs
        if kind == "up":
            self.conv(before, inputs, outputs)
            self.normalised += outputs
        self.slopes += outputs * encoder * self.with_slopes

    @property
    def trainable(self) -> int:
        return self.weights + 2 * self.normalised + self.slopes

    @property
    def all(self) -> int:
        """With the moving mean and variance of batch normalisation."""
        return self.trainable + 2 * self.normalised


def count(pixels: int, classes: int, *, width: float = 1, scale: int = 4, slopes: bool = True) -> Count:
    """ENet for images of ``pixels``."""
    found = Count(scale, slopes)
    a, b, c = (int(width * channels) for channels in (16, 64, 128))
    half, quarter, eighth = pixels // 4, pixels // 16, pixels // 64
    found.conv(half, 3, a - 3, 9, bias=True)
    found.norm(a, encoder=True)
    found.block(quarter, a, b, "down")
    for _ in range(4):
        found.block(quarter, b, b, "regular")
    found.block(eighth, b, c, "down")
    for kind in 2 * ["regular", "dilated", "asymmetric", "dilated"] * 2:
        found.block(eighth, c, c, kind)
    found.block(quarter, c, b, "up", encoder=False)
    for _ in range(2):
        found.block(quarter, b, b, "regular", encoder=False)
    found.block(half, b, a, "up", encoder=False)
    found.block(half, a, a, "regular", encoder=False)
    found.conv(half, a, classes, 4, bias=True)
    return found


def test_the_formula_gives_the_published_figures() -> None:
    """Without this, formula and network could be wrong alike."""
    assert {c: count(64, c).trainable for c in (2, 11, 12, 19)} == {
        2: 363_206, 11: 363_791, 12: 363_856, 19: 364_311,
    }  # fmt: skip
    assert {c: count(64, c).all for c in (2, 11, 12, 19)} == {
        2: 371_558, 11: 372_143, 12: 372_208, 19: 372_663,
    }  # fmt: skip
    assert count(256 * 256, 2).macs == pytest.approx(472.4e6, rel=1e-3)
    # The thesis's: 14.2 to 14.9 MB and 4.7 to 5.0 GMAC, the range of ports that differ in small things.
    large = count(256 * 256, 2, scale=1)
    assert 14.2e6 < 4 * large.all < 14.9e6
    assert large.macs == pytest.approx(4.7e9, rel=0.01)


@pytest.mark.parametrize("unpool", ["indices", "add"])
@pytest.mark.parametrize(
    ("scale", "activation", "width", "classes"),
    [(4, "prelu", 1.0, 19), (1, "prelu", 0.25, 2), (4, "relu", 0.5, 2), (1, "relu", 1.0, 5)],
)
def test_parameters_and_macs_of_the_options(
    unpool: str, scale: int, activation: str, width: float, classes: int
) -> None:
    network = networks.build(
        "enet", (32, 64, 3), classes, unpool=unpool, internal_scale=scale, activation=activation, width=width
    )
    expected = count(32 * 64, classes, width=width, scale=scale, slopes=activation == "prelu")
    trainable = sum(int(np.prod(v.shape)) for v in network.trainable_variables)
    assert (network.count_params(), trainable) == (expected.all, expected.trainable)
    assert cost_of_keras(network).macs == expected.macs


def test_the_layers_that_set_enet_apart() -> None:
    network = networks.build("enet", (64, 64, 3))

    def dilations(stage: int) -> list[Any]:
        names = [f"bottleneck{stage}_{i}" for i in range(1, 9)]
        wide = {layer.name for layer in network.layers if layer.name.endswith("_column")}
        return [
            "5x1" if f"{name}_column" in wide else network.get_layer(f"{name}_middle").dilation_rate[0]
            for name in names
        ]

    assert dilations(2) == dilations(3) == [1, 2, "5x1", 4, 1, 8, "5x1", 16]
    rates = [layer.rate for layer in network.layers if isinstance(layer, keras.layers.SpatialDropout2D)]
    assert rates == 5 * [0.01] + 17 * [0.1]
    slopes = [layer for layer in network.layers if isinstance(layer, keras.layers.PReLU)]
    assert {layer.name.split("_")[0] for layer in slopes} == set(networks.encoder_prefixes("enet"))
    assert all(layer.alpha.shape == (1, 1, layer.output.shape[-1]) for layer in slopes)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"unpool": "index"}, "no unpool 'index': did you mean 'indices'"),
        ({"internal_scale": 2}, "no internal_scale 2: known: 1, 4"),
        ({"activation": "elu"}, "no activation 'elu': did you mean 'relu'"),
        ({"dropout": 1.0}, "dropout is a rate in"),
        ({"width": 0.1}, "leaves a layer of 16 channels with none"),
        ({"input_shape": (64, 100, 3)}, "cannot take 64x100: .* multiples of 8; the nearest is 64x96"),
    ],
)
def test_wrong_arguments(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        networks.build("enet", **options)


# ---- unpooling


def expected_unpool(source: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each value where its window's maximum stands, the first in reading order; and 1 at those places."""
    out, places = np.zeros_like(source), np.zeros_like(source)
    for n, i, j, c in np.ndindex(values.shape):
        window = source[n, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2, c]
        y, x = divmod(int(window.argmax()), 2)
        out[n, 2 * i + y, 2 * j + x, c] = values[n, i, j, c]
        places[n, 2 * i + y, 2 * j + x, c] = 1
    return out, places


def unpooling(size: tuple[int, int], channels: int) -> Any:
    """A network of the pair alone: maps and values in, pooled maps and unpooled values out."""
    source, values = keras.Input((*size, channels)), keras.Input((size[0] // 2, size[1] // 2, channels))
    pooled, positions = _unpool.max_pool(source, "pool")
    return keras.Model([source, values], [pooled, _unpool.max_unpool(values, positions)])


def every_order_of_a_window() -> np.ndarray:
    """Windows (1, 2, 2 * 81, 1) of all ways in which 0, -1 and 2 can stand in four pixels."""
    windows = np.array(list(itertools.product((0.0, -1.0, 2.0), repeat=4)), np.float32)
    return windows.reshape(81, 2, 2).transpose(1, 0, 2).reshape(1, 2, 162, 1)


def test_unpooling_is_exact_for_every_tie() -> None:
    source = every_order_of_a_window()
    values = np.random.default_rng(0).normal(size=(1, 1, 81, 1)).astype(np.float32)
    pooled, found = unpooling((2, 162), 1).predict_on_batch([source, values])
    np.testing.assert_array_equal(found, expected_unpool(source, values)[0])
    np.testing.assert_array_equal(pooled[0, 0, :, 0], source.reshape(2, 81, 2).max(axis=(0, 2)))


def test_unpooling_keeps_batch_rows_columns_and_channels_apart() -> None:
    rng = np.random.default_rng(1)
    # Three values, so that most windows tie somewhere; neighbours one rounding step apart in one channel.
    source = rng.integers(0, 3, (2, 6, 10, 4)).astype(np.float32)
    source[..., 3] = np.where(source[..., 3] > 0, np.nextafter(np.float32(1), np.float32(2)), 1)
    values = rng.normal(size=(2, 3, 5, 4)).astype(np.float32)
    pooled, found = unpooling((6, 10), 4).predict_on_batch([source, values])
    np.testing.assert_array_equal(found, expected_unpool(source, values)[0])
    np.testing.assert_array_equal(pooled, source.reshape(2, 3, 2, 5, 2, 4).max(axis=(2, 4)))


def test_gradient_is_the_cotangent_at_the_positions_and_none_to_the_map_that_chose_them() -> None:
    rng = np.random.default_rng(2)
    source = rng.integers(0, 3, (2, 4, 6, 3)).astype(np.float32)
    values = rng.normal(size=(2, 2, 3, 3)).astype(np.float32)
    upstream = rng.normal(size=source.shape).astype(np.float32)
    network = unpooling((4, 6), 3)
    inputs = [tf.constant(source), tf.constant(values)]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        loss = tf.reduce_sum(network(inputs)[1] * upstream)
    to_source, to_values = tape.gradient(loss, inputs, unconnected_gradients="zero")
    _, places = expected_unpool(source, values)
    expected = (upstream * places).reshape(2, 2, 2, 3, 2, 3).sum(axis=(2, 4))
    np.testing.assert_array_equal(to_source, np.zeros_like(source))
    # Products with 1 and 0, but u * (1 - 1) + u' * 1 is worked out as differences: one rounding.
    np.testing.assert_allclose(to_values, expected, atol=1e-6)


# ---- files


def test_a_saved_network_loads_without_being_told_what_is_in_it(tmp_path: Path) -> None:
    network = networks.build("enet", (32, 64, 3), width=0.5)
    network.save(tmp_path / "enet.keras")
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 64, 3), dtype=np.uint8)
    loaded = runtime.load(tmp_path / "enet.keras").logits(images)
    np.testing.assert_array_equal(loaded, network.predict_on_batch(runtime.to_float(images)))


def test_only_indices_are_positions() -> None:
    found = [
        freeze.remembers_positions(networks.build("enet", (8, 8, 3), width=0.25, unpool=unpool))
        for unpool in ("indices", "add")
    ]
    assert found == [True, False]


@pytest.fixture(scope="module")
def run(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of ENet with random weights and statistics: training it would take longer than all else here."""
    folder = tmp_path_factory.mktemp("enet")
    rng = np.random.default_rng(0)
    keras.utils.set_random_seed(0)
    network = networks.build("enet", (64, 64, 3), width=0.5)
    for weight in network.weights:
        if weight.name in ("bias", "beta", "moving_mean"):
            weight.assign(rng.normal(0, 0.1, weight.shape))
        if weight.name in ("gamma", "moving_variance"):
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    return save_run(folder, network, network_options={"width": 0.5}, data=str(tiny_data))


@pytest.fixture(scope="module")
def artifacts(run: Run, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Its files, verified as in any export; int8 is not, as its limits are for trained networks."""
    out = tmp_path_factory.mktemp("export")
    made = export_run(run.path, out, formats=("tflite",), precisions=("fp32", "fp16"), speed=False)
    found = {a.recipe: a.path for a in made}
    images = quantize.calibration(Path(run.data), (64, 64), 16, 0).images
    converted, found["int8"] = out / "converted.tflite", out / "int8.tflite"
    saved_model = freeze.freeze(freeze.load_network(run.model), out / "saved_model")
    converted.write_bytes(tflite.convert(saved_model))
    found["int8"].write_bytes(quantize.quantize(converted, "int8", images))
    for path in found.values():
        canonical(path)
    return found


@pytest.fixture(scope="module")
def sample(run: Run) -> verify.Sample:
    return verify.sample(Path(run.data), (64, 64))


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_tflite_runs_as_one_partition(precision: str, artifacts: dict[str, Path]) -> None:
    found = runtime.delegation(artifacts[precision])
    assert (found.partitions, found.share) == (1, 1.0)
    assert found.operators > 200


def test_the_file_has_builtin_operators_only(artifacts: dict[str, Path]) -> None:
    found = [operator.op for operator in read(artifacts["fp32"]).operators]
    assert set(found) == {
        "ADD", "CEIL", "CONCATENATION", "CONV_2D", "DEPTH_TO_SPACE", "MAX_POOL_2D", "MINIMUM",
        "MUL", "PAD", "PRELU", "RELU", "RESHAPE", "SPLIT", "SUB", "TRANSPOSE_CONV",
    }  # fmt: skip
    # Biases and normalisation are folded, but for the initial block's, which follows a concatenation; 27
    # blocks add.
    assert found.count("ADD") == 28
    # Two decisions for each of two unpoolings.
    assert found.count("CEIL") == 4
    # 1 initial, 3 a block, 4 in an asymmetric one; the upsampling blocks have one transposed, one to project;
    # the classifier is lowered to one.
    assert found.count("CONV_2D") == 1 + 27 * 3 + 4 + 1
    assert found.count("TRANSPOSE_CONV") == 2


def test_int8_leaves_what_decides_positions_in_float(
    artifacts: dict[str, Path], sample: verify.Sample
) -> None:
    graph = read(artifacts["int8"])
    convolutions = [operator for operator in graph.operators if operator.op == "CONV_2D"]
    float_ones = [graph.gives_float(operator) for operator in convolutions]
    # The initial one and stage 1: its downsampling block and four more, of three each.
    assert float_ones == 16 * [True] + (len(convolutions) - 16) * [False]
    whole, small = (runtime.load(artifacts[kind]).logits(sample.images) for kind in ("fp32", "int8"))
    # 0.024 seen; 0.198 with everything in int8, as equal neighbours then send values to other pixels.
    assert verify.compare(whole, small, sample).logit_mean < 0.05


def test_a_fault_is_still_seen_where_positions_may_move(
    artifacts: dict[str, Path], sample: verify.Sample
) -> None:
    """Red and blue swapped; the network itself passed these limits when it was exported."""
    network = runtime.load(artifacts["fp32"])
    right, wrong = network.logits(sample.images), network.logits(sample.images[..., ::-1])
    # Four bits move logits as much as this fault: their file is made of one that is held to fp32's limits.
    for precision in PRECISIONS.keys() - {"int4w"}:
        limits = verify.tolerance(precision, positions=True)
        with pytest.raises(FootsegError, match="mean logit difference"):
            verify.check(verify.compare(right, wrong, sample), limits, "enet.tflite")


def test_positions_loosen_only_what_they_move() -> None:
    for precision, row in PRECISIONS.items():
        usual = row.tolerance
        loose = verify.tolerance(precision, positions=True)
        assert (loose.pixels_differ, loose.iou, loose.boundary_f) == (
            usual.pixels_differ, usual.iou, usual.boundary_f,
        )  # fmt: skip
        assert loose.logit_max > usual.logit_max
        assert verify.tolerance(precision, positions=False) == usual
