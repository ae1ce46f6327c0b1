"""Structured pruning: the smaller network must compute what the dense one does with the channels at zero."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="rewrites networks: pip install '.[train]'")

from keras import layers, ops  # noqa: E402

from footseg import networks  # noqa: E402
from footseg.benchmarks.cost import cost_of_keras  # noqa: E402
from footseg.compress.channel_costs import macs  # noqa: E402
from footseg.compress.channel_plan import CutPlan, plan  # noqa: E402
from footseg.compress.channels import channels  # noqa: E402
from footseg.compress.importance import (  # noqa: E402
    Importance,
    bn_importance,
    magnitude_importance,
    taylor_importance,
)
from footseg.compress.structured import rewrite, settle  # noqa: E402
from footseg.training.losses import cross_entropy  # noqa: E402
from tests.kinds import each_variant  # noqa: E402

THIN = {"efficientnet_lite": {}, "emilseg": {"base": 4}, "unet": {"base": 8}}
# GroupNormalization sees all channels of a group: where it follows every convolution nothing can go.
WHOLE = {("unet", "U-Net-G, normalised everywhere")}


def randomised(model: Any) -> Any:
    """``model`` with normalisations and slopes that differ from channel to channel; in place."""
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            low_high = {"gamma": (0.5, 1.5), "moving_variance": (0.5, 1.5)}
            layer.set_weights(
                [rng.uniform(*low_high.get(w.name, (-0.3, 0.3)), w.shape) for w in layer.weights]
            )
        elif isinstance(layer, layers.PReLU):
            layer.set_weights([rng.uniform(0, 0.5, w.shape) for w in layer.weights])
    return model


def silenced(model: Any, cut: CutPlan, image: np.ndarray) -> Any:
    """``model``, in which every channel that ``cut`` removes is made exactly 0, wherever it is.

    Filters that make such a channel are set to 0. A normalisation that is then given nothing but zeros in a
    channel would make a constant of it: its offsets there are set to 0. Which these are is read from the
    values, not from the analysis that is tested.
    """
    for name, removed in cut.removed.items():
        if (layer := next((one for one in model.layers if one.name == name), None)) is None:
            continue  # ops.pad: zeros already
        for variable in layer.weights:
            values = np.array(variable.numpy())
            axis = {"Conv2DTranspose kernel": -2, "SeparableConv2D depthwise_kernel": None}.get(
                f"{type(layer).__name__} {variable.name}", -1
            )
            if axis is not None:
                np.moveaxis(values, axis, 0)[list(removed)] = 0
            variable.assign(values)
    norms = [layer for layer in model.layers if isinstance(layer, layers.BatchNormalization)]
    inputs = keras.Model(model.input, [layer.input for layer in norms]) if norms else None
    while inputs is not None:
        changed = False
        for layer, values in zip(norms, keras.tree.flatten(inputs(image, training=False)), strict=True):
            dead = ~np.any(values.numpy(), axis=tuple(range(len(values.shape) - 1)))
            for variable in (layer.beta, layer.moving_mean):
                changed |= bool(np.any(variable.numpy()[dead]))
                variable.assign(np.where(dead, 0, variable.numpy()))
        if not changed:
            break
    return model


def assert_same(model: Any, cut: CutPlan) -> Any:
    """The network rewritten from ``model`` gives what the silenced ``model`` gives; returns it."""
    image = np.random.default_rng(1).random((1, *model.input_shape[1:])).astype("float32")
    dense = silenced(model, cut, image)
    smaller = rewrite(dense, cut)
    expected = dense(image, training=False).numpy()
    assert np.ptp(expected) > 1e-3  # a network of zeros would agree with anything
    # Sums of other lengths in another order: float32 rounding, some 1e-6 of the largest value here.
    np.testing.assert_allclose(
        smaller(image, training=False).numpy(), expected, atol=1e-5 * max(1, np.abs(expected).max())
    )
    assert macs(model) == cost_of_keras(model).macs == cut.macs_before
    assert macs(smaller) == cost_of_keras(smaller).macs == cut.macs_after
    assert [layer.name for layer in smaller.layers] == [layer.name for layer in model.layers]
    for name, (before, after) in cut.layers.items():
        assert after == before - len(cut.removed.get(name, ()))
        if name in {layer.name for layer in smaller.layers}:
            assert smaller.get_layer(name).output.shape[-1] == after
    return smaller


@pytest.mark.parametrize(("name", "variant"), each_variant())
def test_every_network_can_be_cut(name: str, variant: str) -> None:
    options = networks.variants(name)[variant]["options"] | THIN.get(name, {"width": 0.25})
    model = randomised(networks.build(name, (128, 128, 3), **options))
    if (name, variant) in WHOLE:
        with pytest.raises(ValueError, match=r"cannot be reached: .*GroupNormalization"):
            plan(model, 0.6)
        return
    cut = plan(model, 0.6, multiple_of=2)
    assert cut.macs_after <= 0.6 * cut.macs_before
    assert_same(model, cut)
    assert cut.layers["classifier"] == (2, 2)
    assert cut.left_out["classifier"] == "the network's input and output"


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["MobileNetV2", "ResNet50"])
def test_networks_of_keras_can_be_cut(name: str) -> None:
    options: dict[str, Any] = {"weights": None, "classes": 7, "classifier_activation": None}
    if name == "MobileNetV2":
        options["alpha"] = 0.35
    model = randomised(getattr(keras.applications, name)(input_shape=(32, 32, 3), **options))
    assert_same(model, plan(model, 0.7))


# ---- what is tied to what


def net(build: Callable[[Any], Any], shape: tuple[int, ...] = (8, 8, 3)) -> Any:
    image = keras.Input(shape, name="image")
    return keras.Model(image, build(image))


def conv(filters: int, name: str, kernel: int = 1, **options: Any) -> Any:
    return layers.Conv2D(filters, kernel, padding="same", name=name, **options)


def worth(**scores: list[float]) -> Importance:
    return Importance({name: np.array(values, float) for name, values in scores.items()}, comparable=True)


def test_added_channels_go_together_and_concatenated_ones_alone() -> None:
    def build(x: Any) -> Any:
        a, b, c = (conv(4, name)(x) for name in "abc")
        joined = layers.Concatenate(name="joined")([layers.Add()([a, b]), c])
        return conv(2, "logits")(joined)

    model = net(build)
    found = channels(model)
    of = {use.name: use.output.tolist() for use in found.uses}
    assert of["a"] == of["b"] == of["joined"][:4]
    assert of["c"] == of["joined"][4:]
    assert not set(of["a"]) & set(of["c"])
    assert {found.locked[number] for number in of["image"] + of["logits"]} == {
        "the network's input and output"
    }

    # A channel of a + b costs 64 x (3 + 3 + 2) MACs and is worth 5, 3, 1 or 9; one of c costs 64 x (3 + 2).
    scores = worth(a=[2, 2, 0, 8], b=[3, 1, 1, 1], c=[1, 4, 5, 8])
    cut = plan(model, 0.8, importance=scores, multiple_of=1)
    # By worth per MAC saved: 1/8 (a, b: channel 2), 1/5 (c: 0); then 3/8 (a, b: 1) before 4/5 (c: 1).
    # 52 units of 64 MACs; 80 % are 41.6: 44, 39.
    assert cut.removed == {"a": (2,), "b": (2,), "c": (0,)}
    assert (cut.macs_before, cut.macs_after) == (64 * 52, 64 * 39)
    # 38.5 units: channel 1 of a, b goes, too, which leaves 31; then c can have its channel back: 36.
    assert plan(model, 0.74, importance=scores, multiple_of=1).removed == {"a": (1, 2), "b": (1, 2)}
    assert cut.left_out == {"logits": "the network's input and output"}
    smaller = assert_same(model, cut)
    assert smaller.count_params() == (3 * 3 + 3) * 3 + (6 * 2 + 2)


def test_links_tie_the_encoder_to_the_decoder() -> None:
    model = networks.build("fast_linknet", (64, 64, 3), width=0.25)
    makers = channels(model).makers
    stem = makers["stem_conv"].tolist()
    for name in (
        "encoder1_a_2_pointwise",
        "encoder1_b_2_pointwise",
        "decoder1_expand_conv",
        "decoder2_expand_conv",
    ):
        assert makers[name].tolist() == stem
    assert not set(makers["encoder1_a_1_pointwise"].tolist()) & set(stem)


def test_what_is_not_known_is_locked_and_says_why() -> None:
    class Mystery(layers.Layer):
        def call(self, x: Any) -> Any:
            return x[..., ::-1]

    def build(x: Any) -> Any:
        parts = ops.split(conv(4, "split_up")(x), 2, axis=-1)
        y = layers.Add()([parts[0], parts[1]])
        y = layers.GroupNormalization(2, name="grouped")(conv(4, "before_norm")(y))
        y = Mystery(name="mystery")(conv(4, "before_mystery")(y))
        y = conv(4, "groups", groups=2)(conv(4, "before_groups")(y))
        y = conv(4, "soft", activation="softmax")(y)
        # A softmax sums to 1 and the kernel is below 1: with a bias of 1 no channel dies in the ReLU.
        y = conv(4, "free", activation="relu", bias_initializer="ones")(y) * np.ones(4, "float32")
        return conv(2, "logits")(conv(4, "last")(y))

    model = net(build)
    left_out = plan(model, 1.0, multiple_of=1).left_out
    assert "works across the channels" in left_out["split_up"]
    assert left_out["before_norm"].startswith("grouped (GroupNormalization) ")
    assert left_out["before_mystery"].startswith("mystery (Mystery) ")
    assert "2 groups" in left_out["before_groups"]
    assert "softmax" in left_out["soft"]
    assert "a constant" in left_out["free"]
    assert left_out["last"] == "worth more than others"
    assert_same(model, plan(model, 0.97, multiple_of=1))
    with pytest.raises(ValueError, match=r"cannot be reached: .* stay, most of them in .*layers"):
        plan(model, 0.5, multiple_of=1)


def test_channels_are_followed_through_every_kind_of_layer(tmp_path: Path) -> None:
    twice = conv(6, "twice", activation="relu")

    def build(x: Any) -> Any:
        y = layers.SeparableConv2D(6, 3, padding="same", depth_multiplier=2, name="separable")(
            conv(6, "first")(x)
        )
        y = layers.PReLU(shared_axes=[1, 2])(layers.BatchNormalization(name="norm")(y))
        y = layers.DepthwiseConv2D(
            3, 2, padding="same", depth_multiplier=2, use_bias=False, name="depthwise"
        )(y)
        y = twice(twice(conv(6, "second")(y)))
        y = ops.pad(y, ((0, 0), (0, 0), (0, 0), (1, 2)))
        y = layers.Add()([y, layers.Conv2DTranspose(9, 3, padding="same", name="up")(y)])
        gate = conv(9, "gate")(layers.GlobalAveragePooling2D(keepdims=True)(y))
        y = layers.Multiply()([y, layers.Reshape((1, 1, 9))(gate), conv(1, "spread")(y)])
        rows = ops.reshape(layers.UpSampling2D(2)(y), (-1, 8, 1, 72))
        y = layers.Flatten()(ops.reshape(rows, (-1, 8, 8, 9)))
        return layers.Dense(3, name="logits")(layers.Dense(8, "relu", name="hidden")(y))

    model = net(build)
    rng = np.random.default_rng(0)
    model.set_weights(
        [rng.uniform(0.1, 0.5, w.shape) * rng.choice([-1, 1, 1], w.shape) for w in model.get_weights()]
    )
    model.get_layer("norm").moving_variance.assign(np.full(6, 2.0))
    with pytest.raises(ValueError, match="twice is used 2 times"):
        cost_of_keras(model)  # so that this network is compared by its outputs alone
    cut = plan(model, 0.4, multiple_of=1)
    image = np.random.default_rng(1).random((2, 8, 8, 3)).astype("float32")
    dense = silenced(model, cut, image)
    smaller = rewrite(dense, cut)
    expected = dense(image, training=False).numpy()
    np.testing.assert_allclose(smaller(image, training=False).numpy(), expected, rtol=1e-5, atol=1e-5)
    assert np.ptp(expected) > 1e-3
    assert len(cut.layers) == 10  # the padding, whose name is a counter's, makes channels, too
    assert {name for name in cut.removed if not name.startswith("pad")} <= {
        layer.name for layer in model.layers
    }
    assert macs(smaller) == cut.macs_after <= 0.4 * macs(model)

    smaller.save(tmp_path / "small.keras")
    again = keras.saving.load_model(tmp_path / "small.keras", compile=False)
    np.testing.assert_array_equal(again(image, training=False), smaller(image, training=False))


def test_a_sequential_model_is_a_functional_one() -> None:
    model = keras.Sequential([keras.Input((8, 8, 3)), conv(8, "a", activation="relu"), conv(2, "logits")])
    assert rewrite(model, plan(model, 0.5, multiple_of=4)).get_layer("a").filters == 4


# ---- what a channel is worth


def test_a_normalised_channel_is_worth_its_gamma_and_others_their_filter() -> None:
    model = net(
        lambda x: conv(1, "logits")(conv(2, "bare")(layers.BatchNormalization(name="bn")(conv(2, "a")(x))))
    )
    model.get_layer("bn").gamma.assign([-2.0, 0.5])
    model.get_layer("bare").kernel.assign(np.array([[3, 1], [4, 0]], "float32").reshape(1, 1, 2, 2))
    scores = bn_importance(model).scores
    assert scores["bn"].tolist() == [2, 0.5]
    assert scores["bare"].tolist() == [5, 1]
    assert set(scores) == {"bn", "bare", "logits"}
    assert set(magnitude_importance(model).scores) == {"a", "bare", "logits"}


def test_taylor_importance_is_the_slope_of_the_loss_at_a_gate() -> None:
    def build(x: Any) -> Any:
        y = layers.BatchNormalization(name="bn")(conv(3, "a")(x))
        y = layers.Conv2DTranspose(3, 2, 2, activation="tanh", name="bare")(layers.Activation("tanh")(y))
        return conv(2, "logits")(y)

    model = net(build)
    rng = np.random.default_rng(2)
    signs = [rng.choice([-1, 1], w.shape) for w in model.get_weights()]
    model.set_weights([rng.uniform(0.2, 1, sign.shape) * sign for sign in signs])
    model.get_layer("bn").moving_variance.assign([0.5, 1.0, 2.0])
    batches = [
        (rng.random((2, 8, 8, 3)).astype("float32"), rng.integers(0, 2, (2, 16, 16), "int32"))
        for _ in range(2)
    ]
    found = taylor_importance(model, batches, cross_entropy)
    assert found.comparable

    def loss_with(layer: str, channel: int, gate: float, batch: Any) -> float:
        """The loss when a channel behind ``layer`` (before its activation) is multiplied by ``gate``."""
        copy = keras.models.clone_model(model)
        copy.set_weights(model.get_weights())
        variables = {v.name: v for v in copy.get_layer(layer).weights}
        for name, axis in {"gamma": 0, "beta": 0, "kernel": -2, "bias": 0}.items():
            if name in variables:
                values = np.array(variables[name].numpy())
                np.moveaxis(values, axis, 0)[channel] *= gate
                variables[name].assign(values)
        return float(cross_entropy(copy(batch[0], training=False), batch[1]))

    for layer in ("bn", "bare"):
        for channel in range(3):
            slopes = [
                (loss_with(layer, channel, 1.05, b) - loss_with(layer, channel, 0.95, b)) / 0.1
                for b in batches
            ]
            assert min(np.abs(slopes)) > 1e-3
            # Central differences: losses near 1 are good to 1e-7, so slopes to 1e-6, 0.1 % of the smallest;
            # the curve adds about 0.05 squared.
            assert found.scores[layer][channel] == pytest.approx(np.mean(np.square(slopes)), rel=0.01)
    with pytest.raises(ValueError, match="no batch"):
        taylor_importance(model, [], cross_entropy)


def test_settled_statistics_are_the_mean_over_the_batches() -> None:
    model = net(layers.BatchNormalization(name="bn", momentum=0.7), (2, 2, 1))
    settle(
        model, [np.full((1, 2, 2, 1), 3.0, "float32"), np.arange(4.0, dtype="float32").reshape(1, 2, 2, 1)]
    )
    bn = model.get_layer("bn")
    assert (float(bn.moving_mean[0]), float(bn.moving_variance[0]), bn.momentum) == (2.25, 0.625, 0.7)
    with pytest.raises(ValueError, match="no batch"):
        settle(model, [])


# ---- plans


@pytest.fixture(scope="module")
def chain() -> Any:
    """3 -> 16 -> 8 -> 2 at 8x8: 64 x (48 + 128 + 16) MACs."""
    return net(lambda x: conv(2, "logits")(conv(8, "thin")(conv(16, "wide")(x))))


def widths(cut: CutPlan) -> list[int]:
    return [after for _, after in cut.layers.values()]


def test_widths_are_multiples_and_never_below_the_least(chain: Any) -> None:
    assert widths(plan(chain, 1.0)) == [16, 8, 2]
    assert widths(plan(chain, 0.6)) == [8, 8, 2]
    assert set(widths(plan(chain, 0.2, multiple_of=4))) == {4, 2}
    # The smallest that can be reached with 8 and 8: 24 + 64 + 16 of 192.
    with pytest.raises(
        ValueError, match=r"0.5 of the MACs .* 0.542 stay, .*thin \(the fewest channels allowed\)"
    ):
        plan(chain, 0.5)
    assert widths(plan(chain, 0.542)) == [8, 8, 2]
    assert widths(plan(chain, 0.7, multiple_of=4, least=7)) == [8, 8, 2]


def test_layers_can_be_left_alone_or_cut_to_a_share(chain: Any) -> None:
    cut = plan(chain, 1.0, multiple_of=2, layers={"wi*": 0.25})
    assert widths(cut) == [4, 8, 2]
    cut = plan(chain, 0.6, multiple_of=2, layers={"wide": 1})
    assert cut.layers["wide"] == (16, 16)
    assert cut.left_out["wide"] == "left alone as asked"
    with pytest.raises(ValueError, match=r"wide \(as asked\)"):
        plan(chain, 0.1, multiple_of=2, layers={"wide": 1})


def test_traffic_moves_the_cut_to_where_the_pixels_are() -> None:
    """Equal MACs a channel, 64 times as many pixels: without traffic the less important channels go."""

    def build(x: Any) -> Any:
        y = layers.AveragePooling2D(8)(conv(8, "large")(x))
        return conv(2, "logits")(conv(8, "small", 8)(layers.ZeroPadding2D(0)(y)))

    model = net(build)
    scores = worth(large=[2] * 8, small=[1] * 8)

    def narrowed(traffic: float) -> set[str]:
        cut = plan(model, 0.75, importance=scores, multiple_of=2, traffic=traffic)
        return {name for name, (before, after) in cut.layers.items() if after < before}

    assert narrowed(0) == {"small"}
    assert "large" in narrowed(1000)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep_macs": 0.0}, "keep_macs is a share .* not 0.0"),
        ({"keep_macs": float("nan")}, "keep_macs"),
        ({"multiple_of": 0}, "at least 1"),
        ({"least": 0}, "at least 1"),
        ({"traffic": -1.0}, "traffic at least 0"),
        ({"layers": {"wide": 0}}, "wide: the share .* not 0"),
        ({"layers": {"wid": 0.5}}, "no layer .* 'wid': did you mean 'wide'"),
        ({"layers": {"logits": 0.5}}, "logits cannot be cut: the network's input and output"),
        ({"layers": {"wide": 0.5, "*ide": 1}}, r"wide is tied .* wide asks for 0.5 .* \*ide for 1"),
        ({"importance": worth(wdie=[1])}, "'wdie' .* did you mean 'wide'"),
        ({"importance": worth(wide=[1, 2])}, r"wide has shape \(2,\), not \(16,\)"),
    ],
)
def test_a_wrong_plan_is_refused(chain: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan(chain, **{"keep_macs": 0.9, **options})


def test_a_plan_fits_its_own_network_only(chain: Any) -> None:
    cut = plan(chain, 0.6)
    other = net(lambda x: conv(2, "logits")(conv(12, "wide")(x)))
    with pytest.raises(ValueError, match="this one has no wide of 16 channels"):
        rewrite(other, cut)
    tied = net(lambda x: conv(2, "logits")(layers.Add()([conv(8, "a")(x), conv(8, "b")(x)])))
    half = CutPlan({"a": (8, 7), "b": (8, 8)}, {"a": (0,)}, {}, 1, 1)
    with pytest.raises(ValueError, match="layer b is tied to"):
        rewrite(tied, half)
    with pytest.raises(ValueError, match="must stay: the network's input and output"):
        rewrite(tied, CutPlan({"logits": (2, 1)}, {"logits": (0,)}, {}, 1, 1))


def test_models_without_a_graph_are_refused() -> None:
    class Own(keras.Model):
        def call(self, x: Any) -> Any:
            return x

    with pytest.raises(ValueError, match=r"own is a Own, not .* keras.Model\(inputs, outputs\)"):
        plan(Own(name="own"), 0.5)
    with pytest.raises(ValueError, match="image has an open shape"):
        plan(net(conv(2, "wide"), (None, None, 3)), 0.5)


def test_the_model_that_is_given_is_not_changed(chain: Any) -> None:
    before = [w.copy() for w in chain.get_weights()]
    smaller = rewrite(chain, plan(chain, 0.6))
    smaller.set_weights([w * 0 for w in smaller.get_weights()])
    for now, then in zip(chain.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)
