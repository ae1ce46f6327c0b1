"""Pruning: masks worked out by hand, schedules of short runs, and real steps of TFMOT's wrappers."""

import numpy as np
import pytest

from footseg.compress.prune import Prune, shared_out, smallest, updates
from footseg.errors import FootsegError
from tests.kinds import each_network
from tests.one_step import tiny
from tests.retraining import kernel, little, retrain, set_kernel


def test_smallest_by_hand() -> None:
    ones = np.float32([[1, -4, 3], [2, 6, -5]])
    assert smallest(ones, 0.5).tolist() == [[True, False, True], [True, False, False]]
    # 0.6 of 6 weights are 3.6: four.
    assert smallest(ones, 0.6).sum() == 4
    assert smallest(ones, 0.99).sum() == 5  # one is left
    assert smallest(np.full((1, 4), 2.0), 0.5).tolist() == [[True, True, False, False]]  # ties: the first


def test_blocks_by_hand() -> None:
    matrix = np.float32([[1, 1, 9], [1, 1, 1], [5, 5, 1]])
    # 2x2 blocks and what is cut off at the edge, by mean magnitude: 1, 5 (of 9 and 1), 5 and 1 by their sizes
    # 4, 2, 2, 1. The last one and the first make 5 of 9; a third would make 7.
    expected = [[True, True, False], [True, True, False], [False, False, True]]
    assert smallest(matrix, 5 / 9, (2, 2)).tolist() == expected
    # Positions of the kernel are never in one block: of (2, 1, 2) the two rows are two positions.
    positions = np.float32([[[1, 1]], [[3, 3]]])
    assert smallest(positions, 0.5, (2, 2)).tolist() == [[[True, True]], [[False, False]]]


@pytest.mark.parametrize(
    ("begin", "end", "steps", "expected"),
    [
        (0.0, 0.6, 1, (0, 1, 1)),
        (0.0, 0.6, 10, (0, 6, 1)),
        (0.25, 1.0, 100, (25, 97, 4)),  # 75 steps between, every 4th: 18 updates of them make 72
        (0.0, 0.6, 1000, (0, 600, 30)),
        (0.9, 1.0, 3, (2, 3, 1)),
    ],
)
def test_updates_fall_on_the_end(begin: float, end: float, steps: int, expected: tuple[int, ...]) -> None:
    first, last, frequency = updates(begin, end, steps)
    assert (first, last, frequency) == expected
    assert (last - first) % frequency == 0
    with pytest.raises(ValueError, match="1 training step or more, not 0"):
        updates(0.0, 0.6, 0)


def test_shares_by_hand() -> None:
    kernels = {"a": np.float32([1, 2, 3, 4]), "b": np.float32([10, 20, 30, 40])}
    # Four of eight, by magnitude: all of "a", which is capped at 95 %; "b" gives 0.2 of a weight: none.
    assert shared_out(kernels, 0.5, "global") == {"a": 0.95, "b": 0.0}
    # Scores of LAMP do not see the scale: 1/30, 4/29, 9/25 and 1 in both.
    assert shared_out(kernels, 0.5, "lamp") == {"a": 0.5, "b": 0.5}
    # Ties: of the six equal ones just as many as asked for.
    assert shared_out({"a": np.ones(4), "b": np.float32([1, 1, 9, 9])}, 0.5, "global") == {
        "a": 0.95,
        "b": 0.0,
    }
    assert shared_out({"a": np.ones(4), "b": np.float32([1, 1, 9, 9])}, 0.25, "global") == {
        "a": 0.5,
        "b": 0.0,
    }
    flat = {"a": np.float32([1, 1, 1, 1]), "b": np.float32([1, 1, 1, 9])}
    # 1/4, 1/3, 1/2, 1 against 1/84, 1/83, 1/82, 1: "b" has the three smallest.
    assert shared_out(flat, 3 / 8, "lamp") == {"a": 0.0, "b": 0.75}


def test_every_step_count_reaches_its_goal() -> None:
    model = little()
    before = model.get_weights()
    for steps in (1, 10):
        method = Prune(0.7, "layer")
        wrapped, choice = retrain(method, model, steps)
        plain = method.plain(wrapped)
        reached = method.check(plain, choice)
        # 216, 64, 192 and 12 weights: 151.2, 44.8, 134.4 and 8.4 to the nearest whole weight.
        zeros = {name: round(row["sparsity"] * kernel(plain, name).size) for name, row in reached.items()}
        assert zeros == {"conv": 151, "separable": 45, "up": 134, "head": 8}
        assert choice.left_out.keys() == {"depthwise", "prelu"}
        assert kernel(plain, "depthwise").all()
        image = np.random.default_rng(2).random((1, 8, 8, 3), np.float32)
        # The plain network is the wrapped one; float32 sums in other orders.
        assert plain.predict_on_batch(image) == pytest.approx(wrapped(image).numpy(), abs=1e-6)
    assert all((a == b).all() for a, b in zip(before, model.get_weights(), strict=True))


def test_a_run_cut_short_is_found_out() -> None:
    method = Prune(0.7, "layer", layers={"head": 0.0})
    wrapped, choice = retrain(method, little(), 10, run=1)
    with pytest.raises(FootsegError, match=r"conv has .* zeros, not 70.0%; separable .*60% of the run"):
        method.check(method.plain(wrapped), choice)
    # Going on at step 5 of a new process: the last update, at step 6, reaches the goal.
    method.check(method.plain(retrain(method, little(), 10, first=5, run=1)[0]), choice)


def test_settings_by_layer_and_blocks() -> None:
    method = Prune(0.5, "layer", layers={"*": 0.6, "up": 0.25, "head": 0}, skip=("sep*",), block="1x4")
    wrapped, choice = retrain(method, little(), 3)
    assert choice.layers == {"conv": 0.6, "up": 0.25}
    assert choice.left_out["head"] == choice.left_out["separable"] == "asked for"
    plain = method.plain(wrapped)
    method.check(plain, choice)
    conv = kernel(plain, "conv").reshape(-1, 2, 4)
    assert set((conv == 0).sum(-1).ravel()) == {0, 4}
    # (2, 2, outputs, inputs): outputs in blocks of four and the two that are left.
    up = kernel(plain, "up")
    assert set((up[:, :, :4] == 0).sum(2).ravel()) == {0, 4}
    assert set((up[:, :, 4:] == 0).sum(2).ravel()) <= {0, 2}
    assert Prune(0.5, block="1x4").choose(little()).left_out["head"].startswith("6 input x 2 output channels")
    with pytest.raises(ValueError, match="head cannot be pruned in blocks: its 6 input x 2 output"):
        Prune(0.5, layers={"head": 0.5}, block="1x4").choose(little())


def test_zeros_and_ties_that_are_there_already() -> None:
    model = little()
    conv = kernel(model, "conv")
    conv[..., :6] = 0  # whole channels: three quarters
    set_kernel(model, "conv", conv)
    set_kernel(model, "separable", np.resize(np.float32([1, 2]), (1, 1, 8, 8)))  # two values
    set_kernel(model, "head", np.zeros((6, 2)))
    method = Prune(0.7, "layer")
    wrapped, choice = retrain(method, model, 5, rate=0.0)
    assert choice.layers == {"conv": 0.75, "separable": 0.7, "up": 0.7}
    assert choice.left_out["head"] == "all of its weights are zero already"
    plain = method.plain(wrapped)
    method.check(plain, choice)
    assert (kernel(plain, "conv") == conv).all()
    # 45 of 64, though 32 of them are equal to the largest.
    assert (kernel(plain, "separable") == 0).sum() == 45


def test_bad_settings() -> None:
    with pytest.raises(ValueError, match=r"sparsity is 1.0: at 1 no weight would be left"):
        Prune(1.0)
    for wrong in (0, -0.5, "much", True):
        with pytest.raises(ValueError, match="sparsity is a share of zeros between 0 and 1"):
            Prune(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"the sparsity of 'up' is 1.5"):
        Prune(layers={"up": 1.5})
    with pytest.raises(ValueError, match="did you mean 'global'"):
        Prune(scope="globl")
    with pytest.raises(ValueError, match="at least 5% of its weights"):
        Prune(0.97, scope="lamp")
    with pytest.raises(ValueError, match=r"not 0.5 and 0.5"):
        Prune(begin=0.5, end=0.5)
    for block in ("4", "1x", "0x4", "1x4x4"):
        with pytest.raises(ValueError, match="a block is ROWSxCOLUMNS"):
            Prune(block=block)
    with pytest.raises(
        ValueError, match="no layer of little matches 'sepparable': the nearest is 'separable'"
    ):
        Prune(skip=("sepparable",)).choose(little())
    with pytest.raises(ValueError, match=r"'dep\*' names no layer .* depthwise \(DepthwiseConv2D\)"):
        Prune(layers={"dep*": 0.5}).choose(little())
    with pytest.raises(ValueError, match="no layer of little is left to compress"):
        Prune(skip=("*",)).choose(little())


@pytest.mark.parametrize("name", each_network())
def test_every_network_has_its_layers_named(name: str) -> None:
    model = tiny(name)
    choice = Prune(0.7, "layer").choose(model)
    kinds = {layer.name: type(layer).__name__ for layer in model.layers}
    assert {kinds[layer] for layer in choice.layers} <= {"Conv2D", "Conv2DTranspose"}
    assert {kinds[layer] for layer in choice.left_out} <= {"DepthwiseConv2D", "PReLU"}
    with_weights = {layer.name for layer in model.layers if any(len(w.shape) > 1 for w in layer.weights)}
    assert with_weights == choice.layers.keys() | choice.left_out.keys()
    for scope in ("global", "lamp"):
        shared = Prune(0.7, scope=scope).choose(model)
        assert with_weights == shared.layers.keys() | shared.left_out.keys()
        shares = shared.layers
        sizes = {layer: kernel(model, layer).size for layer in choice.layers}
        zeros = sum(shares.get(layer, 0) * size for layer, size in sizes.items())
        # To the nearest weight, but for the layers that are held to 95 %: one weight each.
        assert zeros == pytest.approx(0.7 * sum(sizes.values()), abs=len(sizes))
