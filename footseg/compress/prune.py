"""Magnitude pruning with retraining: the smallest weights become zero, step by step, then the rest recovers.

TFMOT's wrapper trains (Zhu and Gupta, "To prune, or not to prune", 2017: the share of zeros rises by a cubic
polynomial). Three things are done here that it leaves open or does otherwise:

steps    its default, an update every 100 steps, leaves a short run at 0 % without a word: here the updates
         are spread over the run, and the last one falls on the schedule's end;
ties     it keeps every weight that equals the threshold, so that a network with shared values (clustered
         before) ends below the goal: here weights go by rank, to the very number;
blocks   it refuses them for convolutions. Here a block of "1x4" is 1 input channel x 4 output channels at one
         position of the kernel, and goes by the mean magnitude of its weights. XNNPACK has kernels for zeros
         in blocks of 2 or 4 output channels, but runs them only in networks like those of Elsen et al.,
         "Fast Sparse ConvNets" (2020): 1x1 convolutions in float, two thirds of zeros or more, a 3x3
         stride-2 convolution first, global pooling last. None of this project's networks is such: here
         pruning makes downloads smaller, and latency stays; for latency remove whole channels
         (``footseg compress --cut``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from footseg.compress.kernels import Selection, kernel_of, select, values_of, with_kernels
from footseg.compress.method import LayerChoice, Twin
from footseg.compress.twin import to_keras, to_tf_keras
from footseg.errors import FootsegError, check_known, require

tf_keras: Any = require("tf_keras", "compress")
tfmot: Any = require("tensorflow_model_optimization", "compress")

SCOPES = ("lamp", "global", "layer")
# No layer loses more than this to ``scope``: by magnitude alone a large layer may lose all of its weights.
MOST = 0.95
ALL_ZERO = "all of its weights are zero already"
NONE_SMALL = "none of its weights is among the smallest of all layers"
# Updates of the masks in a run: one sorts all weights (0.2 s for 1.8 million of them).
UPDATES = 20


@dataclass(frozen=True)
class Prune:
    """Prune the kernels of convolutions (transposed, separable) and dense layers.

    Args:
        sparsity: the share of zeros, between 0 and 1; of all layers together, or of each layer (``scope``).
        scope: whose weights are compared. "lamp": those of all layers, by what each is beside the larger ones
            of its layer (Lee et al., "Layer-adaptive Sparsity for the Magnitude-based Pruning", 2021,
            equation 4). "global": those of all layers, by magnitude. "layer": the same share in each layer.
            The first two are shared out by the weights as they are before pruning, 95 % of a layer at most.
            A FastLinkNet of validation IoU 0.7615 gave, in this order, 0.762, 0.398 and 0.000 at 70 % before
            any retraining, and 0.760, 0.731 and 0.000 at 90 % after 150 steps of it.
        layers: other shares by pattern of layer names, which count for themselves; 0 leaves a layer out.
        skip: patterns of layers to leave out.
        begin: where in the run pruning begins, 0 to 1.
        end: where it has reached its goal; what is left of the run recovers.
        block: "ROWSxCOLUMNS", input channels x output channels that become zero together.

    Raises:
        ValueError: a value out of its range.
    """

    sparsity: float = 0.7
    scope: str = "lamp"
    layers: Mapping[str, float] = field(default_factory=dict)
    skip: tuple[str, ...] = ()
    begin: float = 0.0
    end: float = 0.6
    block: str = "1x1"
    name = "prune"

    def __post_init__(self) -> None:
        _check_share("sparsity", self.sparsity, least=None)
        for pattern, share in self.layers.items():
            _check_share(f"the sparsity of {pattern!r}", share, least=0)
        check_known("no scope", self.scope, SCOPES)
        if self.scope != "layer" and self.sparsity > MOST:
            raise ValueError(
                f"scope {self.scope!r} leaves each layer at least {1 - MOST:.0%} of its weights, so sparsity "
                f"{self.sparsity} cannot be met: ask for {MOST} or less, or take scope 'layer'"
            )
        if not 0 <= self.begin < self.end <= 1:
            raise ValueError(
                f"begin and end are shares of the run, 0 <= begin < end <= 1, not {self.begin} and {self.end}"
            )
        _block(self.block)

    @property
    def settled(self) -> float:
        """The masks are final from the end of the schedule on."""
        return self.end

    def choose(self, model: keras.Model) -> LayerChoice:
        """The share of zeros for each layer of a Keras 3 ``model``; never less than it has already.

        Raises:
            ValueError: a pattern without a layer, a named layer that is smaller than a block, or none left.
        """
        selection = self._large_enough(model, select(model, self.sparsity, self.layers, self.skip))
        asked, left_out = dict(selection.asked), dict(selection.left_out)
        values = {name: values_of(model.get_layer(name)) for name in asked}
        free = [name for name in asked if name not in selection.named]
        if self.scope != "layer" and free:
            asked.update(shared_out({name: values[name] for name in free}, self.sparsity, self.scope))
        for name, kernel in values.items():
            zeros = float(np.mean(kernel == 0))
            asked[name] = max(asked[name], zeros)
            if zeros == 1 or asked[name] == 0:
                del asked[name]
                left_out[name] = ALL_ZERO if zeros else NONE_SMALL
        if not asked:
            raise ValueError(
                f"{model.name} has no weights to prune: {'; '.join(sorted(set(left_out.values())))}"
            )
        return LayerChoice(asked, left_out)

    def wrap(self, model: keras.Model, choice: LayerChoice, steps: int) -> Twin:
        """A tf_keras twin whose chosen layers prune themselves in the course of ``steps`` training steps."""
        begin, end, frequency = updates(self.begin, self.end, steps)
        twin = to_tf_keras(model)

        def wrapped_layer(layer: Any) -> Any:
            if layer.name not in choice.layers:
                return layer
            schedule = tfmot.sparsity.keras.PolynomialDecay(
                initial_sparsity=float(np.mean(kernel_of(layer).numpy() == 0)),
                final_sparsity=choice.layers[layer.name],
                begin_step=begin,
                end_step=end,
                frequency=frequency,
            )
            return tfmot.sparsity.keras.prune_low_magnitude(layer, pruning_schedule=schedule)

        wrapped = tf_keras.models.clone_model(twin, clone_function=wrapped_layer)
        for wrapper in _wrappers(wrapped):
            _masks_from_outside(wrapper)
        # The layers inside the wrappers are the twin's. A function, because tf_keras would track a model.
        wrapped.unwrapped = lambda: twin
        return wrapped

    def before_step(self, wrapped: Twin, step: int) -> None:
        """Tell the wrappers which step it is, and update their masks where the schedule says so."""
        wrappers = _wrappers(wrapped)
        if not wrappers:
            return
        if int(wrappers[0].pruning_step) != step:  # they count on from there by themselves
            for wrapper in wrappers:
                wrapper.pruning_step.assign(step)
        due, _ = wrappers[0].pruning_schedule(step + 1)
        if due:
            for wrapper in wrappers:
                _update_masks(wrapper, step + 1, _block(self.block))

    def kernels(self, wrapped: Twin) -> Mapping[str, Any]:
        """The kernels that are trained, pruned or not, by layer."""
        return {name: kernel_of(layer) for name, layer in with_kernels(wrapped).items()}

    def plain(self, wrapped: Twin) -> keras.Model:
        """A new Keras 3 model with the weights as they are, zero wherever the masks are."""
        for wrapper in _wrappers(wrapped):
            wrapper.pruning_obj.weight_mask_op()
        return to_keras(wrapped.unwrapped())

    def check(self, plain: keras.Model, choice: LayerChoice) -> dict[str, dict[str, Any]]:
        """The share of zeros in each chosen layer.

        Raises:
            FootsegError: layers with fewer zeros than asked, by more than the rounding to whole blocks.
        """
        rows, columns = _block(self.block)
        reached, missed = {}, []
        for name, asked in choice.layers.items():
            values = values_of(plain.get_layer(name))
            zeros = int(values.size - np.count_nonzero(values))
            reached[name] = {"sparsity": zeros / values.size, "asked": asked}
            # Rounding is by half a block at most; by a whole one where the last block stayed.
            if zeros < asked * values.size - rows * columns:
                missed.append(f"{name} has {zeros / values.size:.1%} zeros, not {asked:.1%}")
        if missed:
            raise FootsegError(
                f"{plain.name} is not pruned as asked: {'; '.join(missed)}. Train it to the end: pruning "
                f"reaches its goal at {self.end:.0%} of the run"
            )
        return reached

    def _large_enough(self, model: keras.Model, selection: Selection) -> Selection:
        """Without the layers that have fewer channels than a block."""
        asked, left_out = {}, dict(selection.left_out)
        for name, share in selection.asked.items():
            layer = model.get_layer(name)
            inputs, outputs = _matrix(values_of(layer), _transposed(layer)).shape[-2:]
            rows, columns = _block(self.block)
            if rows <= inputs and columns <= outputs:
                asked[name] = share
                continue
            why = f"{inputs} input x {outputs} output channels are fewer than a block of {self.block}"
            if name in selection.named:
                raise ValueError(f"{name} cannot be pruned in blocks: its {why}")
            left_out[name] = why
        if not asked:
            raise ValueError(f"no layer of {model.name} has the channels of a block of {self.block}")
        return Selection(asked, selection.named, left_out)


def updates(begin: float, end: float, steps: int) -> tuple[int, int, int]:
    """First and last step, counted from 1, and the distance of TFMOT's mask updates in a run of ``steps``.

    The distance divides what is between them, so that the last update happens: it reaches the goal.

    Raises:
        ValueError: no step to train.
    """
    if steps < 1:
        raise ValueError(f"pruning needs 1 training step or more, not {steps}")
    first = min(round(begin * steps), steps - 1)
    span = max(int(end * steps) - first, 1)
    frequency = -(-span // UPDATES)
    return first, first + span // frequency * frequency, frequency


def smallest(kernel: np.ndarray, sparsity: float, block: tuple[int, int] = (1, 1)) -> np.ndarray:
    """Which weights to make zero: bool, of the shape of ``kernel`` (..., input channels, output channels).

    The blocks of least mean magnitude, until ``sparsity`` of the weights is reached to the nearest block; of
    equal ones the first. One block is always left. Blocks at the edge may be cut off.
    """
    rows, columns = kernel.shape[-2:]
    down, across = -(-rows // block[0]), -(-columns // block[1])
    place = (np.arange(rows) // block[0])[:, None] * across + np.arange(columns) // block[1]
    position = np.arange(kernel.size // (rows * columns)).reshape(*kernel.shape[:-2], 1, 1)
    blocks = position * (down * across) + place
    sizes = np.bincount(blocks.ravel())
    means = np.bincount(blocks.ravel(), np.abs(kernel).ravel()) / sizes
    order = np.argsort(means, kind="stable")
    gone = np.cumsum(sizes[order]) - sizes[order] / 2 <= sparsity * kernel.size
    gone[-1] = False
    zero = np.zeros(len(sizes), bool)
    zero[order[gone]] = True
    return zero[blocks]


def shared_out(kernels: Mapping[str, np.ndarray], sparsity: float, scope: str) -> dict[str, float]:
    """The share of zeros for each of ``kernels`` that makes ``sparsity`` of all their weights zero.

    By one threshold for all layers, on the weights' magnitudes ("global") or LAMP scores ("lamp"). A layer
    that would lose more than ``MOST`` loses that, and the others the more.
    """
    scores = {name: _scores(values, scope) for name, values in kernels.items()}
    shares: dict[str, float] = {}
    goal = sparsity * sum(values.size for values in kernels.values())
    while scores:
        sizes = [values.size for values in scores.values()]
        # By rank, not by a threshold: of equal scores only as many count as are needed.
        least = np.argsort(np.concatenate(list(scores.values())), kind="stable")[: round(goal)]
        counts = np.bincount(np.repeat(np.arange(len(sizes)), sizes)[least], minlength=len(sizes))
        found = dict(zip(scores, (counts / sizes).tolist(), strict=True))
        over = [name for name, share in found.items() if share > MOST]
        if not over:
            return {name: (shares | found)[name] for name in kernels}
        for name in over:
            shares[name] = MOST
            goal -= MOST * scores.pop(name).size
    return shares


def _scores(values: np.ndarray, scope: str) -> np.ndarray:
    """What weights are compared by, ascending: magnitude, or its square over those of it and the larger."""
    ascending = np.sort(np.abs(values), axis=None).astype(np.float64)
    if scope == "global":
        return ascending
    squares = ascending**2
    larger = np.cumsum(squares[::-1])[::-1]
    return np.divide(squares, larger, out=np.zeros_like(squares), where=larger > 0)


def _masks_from_outside(wrapper: Any) -> None:
    """Take the update of its masks out of a TFMOT wrapper's graph: ``before_step`` makes it.

    In numpy, which sorts 600,000 weights in 30 ms where TensorFlow takes 190 (one core).
    """
    import tensorflow as tf

    wrapper.pruning_obj.conditional_mask_update = tf.no_op


def _update_masks(wrapper: Any, step: int, block: tuple[int, int]) -> None:
    """Set a wrapper's masks to what its schedule asks for in ``step``, counted from 1."""
    _, sparsity = wrapper.pruning_schedule(step)
    transposed = _transposed(wrapper.layer)
    for kernel, mask, _ in wrapper.pruning_vars:
        zero = smallest(_matrix(kernel.numpy(), transposed), float(sparsity), block)
        mask.assign((~_matrix(zero, transposed)).astype(mask.dtype.as_numpy_dtype))


def _wrappers(wrapped: Twin) -> list[Any]:
    return [layer for layer in wrapped.layers if hasattr(layer, "pruning_step")]


def _transposed(layer: Any) -> bool:
    return type(layer).__name__ == "Conv2DTranspose"


def _matrix(kernel: np.ndarray, transposed: bool) -> np.ndarray:
    """A kernel with its input and output channels last, in that order; its own inverse."""
    return np.swapaxes(kernel, -1, -2) if transposed else kernel


def _block(text: str) -> tuple[int, int]:
    parts = text.split("x")
    if len(parts) != 2 or not all(part.isdecimal() and int(part) for part in parts):
        raise ValueError(f"a block is ROWSxCOLUMNS, such as 1x4 (1 input x 4 output channels), not {text!r}")
    return int(parts[0]), int(parts[1])


def _check_share(what: str, share: object, least: float | None) -> None:
    """Hold a share of zeros to its range: below 1, and above 0 (or ``least`` and more).

    Raises:
        ValueError: it is not.
    """
    number = isinstance(share, (int, float)) and not isinstance(share, bool)
    if number and share >= 1:  # type: ignore[operator]
        raise ValueError(
            f"{what} is {share}: at 1 no weight would be left and the network would give the same for every "
            "image; ask for less, such as 0.7"
        )
    if not number or not (share > 0 or share == least):  # type: ignore[operator]
        raise ValueError(
            f"{what} is a share of zeros between 0 and 1, such as 0.7 (70 % of the weights), not {share!r}"
        )
