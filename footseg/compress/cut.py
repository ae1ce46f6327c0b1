"""``--cut``: whole channels go, and the smaller network is retrained like any other."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np

from footseg import files, records, run, runtime
from footseg.compress import structured
from footseg.compress.channel_plan import CutPlan, plan
from footseg.compress.importance import Importance, bn_importance, magnitude_importance, taylor_importance
from footseg.compress.retrain import load_network, say_left_out
from footseg.data import folder as data_sets
from footseg.errors import check_known
from footseg.evaluate import evenly_spaced
from footseg.training.config import TrainConfig
from footseg.training.job import Builder, Trainee, trainee_of
from footseg.training.losses import combined

IMPORTANCES = ("taylor", "bn", "magnitude")
# Images that Taylor importance is averaged over: 12 s of one core for FastLinkNet at 256x256.
IMAGES = 128


@dataclass(frozen=True)
class Cut:
    """Remove channels, the least important for their work first, until ``share`` of the MACs is gone.

    Args:
        share: of the multiply-accumulates, between 0 and 1.
        importance: "taylor" (what the loss would lose, on training images), "bn" (the scale of batch
            normalisation) or "magnitude" (the norm of the filters).
        multiple_of: widths are cut to multiples of this, as XNNPACK works out 8 channels at a time.
        least: the fewest channels that a layer keeps (0: ``multiple_of``).
        traffic: MACs that moving one output element costs as much as: the more, the thinner high resolutions
            become.
        layers: the share of channels to remove, by pattern of layer names; 0 leaves a layer as it is.
        skip: patterns of layers to leave as they are.

    Raises:
        ValueError: a value out of its range.
    """

    share: float = 0.5
    importance: str = "taylor"
    multiple_of: int = 8
    least: int = 0
    traffic: float = 0.0
    layers: Mapping[str, float] = field(default_factory=dict)
    skip: tuple[str, ...] = ()
    name = "cut"

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ValueError(f"cut takes a share of the MACs between 0 and 1, as 0.5, not {self.share}")
        check_known("no importance", self.importance, IMPORTANCES)
        for pattern, share in self.layers.items():
            if not isinstance(share, int | float) or not 0 <= share < 1:
                raise ValueError(
                    f"the share of channels to remove from {pattern!r} is 0 or more and less than 1, "
                    f"not {share!r}"
                )

    def check(self, model: keras.Model) -> None:
        """Make sure that ``model`` can be cut as asked, which the channels' importance has no part in.

        Raises:
            ValueError: a pattern that no layer matches, or more than can be cut.
        """
        _plan(model, self, bn_importance(model))

    def builder(
        self,
        parent: run.Run,
        config: TrainConfig,
        folder: Path,
        entry: run.Compression,
        say: Callable[[str], None],
    ) -> Builder:
        """What ``train`` builds its network with: that of ``parent``, cut.

        The cut network lies beside ``folder``, the run to train, so that a run that goes on has the same.
        """
        start = folder.with_name(f"{folder.name}_start.keras")
        record = start.with_suffix(".json")
        mend = "begin the step again, in another --out"
        made = records.read(_Made, record, "plan of a cut", mend) if record.is_file() else None
        if made is None or made.parent != entry["parent"]:
            model = load_network(parent.model)
            plan = plan_of(model, self, config)
            smaller = structured.rewrite(model, plan)
            structured.settle(smaller, (images for images, _ in _batches(config)))
            with files.atomic_path(start) as temporary:
                smaller.save(temporary)
            made = _Made(**vars(plan), parent=entry["parent"])
            files.write_json(record, made.to_json())
        before, after = made.macs_before, made.macs_after
        say(f"cut: {before / 1e6:.0f} M MACs -> {after / 1e6:.0f} M ({1 - after / before:.1%} gone)")
        say_left_out(self.name, made.left_out, say)
        done: run.Compression = {
            **entry,
            "macs_before": before,
            "macs_after": after,
            "layers": {
                name: {"channels_before": old, "channels": new}
                for name, (old, new) in made.layers.items()
                if old != new
            },
            "left_out": made.left_out,
        }

        def build(
            config: TrainConfig, classes: Sequence[str], fresh: bool, say: Callable[[str], None]
        ) -> Trainee:
            return trainee_of(load_network(start), load_network(start), (*parent.compression, done))

        return build


@dataclass(frozen=True)
class _Made(CutPlan):
    """What was cut, and the SHA-256 of the model that it was cut from."""

    parent: str


def plan_of(model: keras.Model, settings: Cut, config: TrainConfig) -> CutPlan:
    """Which channels go.

    Raises:
        ValueError: a pattern that no layer matches, or more than can be cut.
        FootsegError: training images that cannot be read.
    """
    importance = {
        "taylor": lambda: taylor_importance(model, _batches(config), combined(config)),
        "bn": lambda: bn_importance(model),
        "magnitude": lambda: magnitude_importance(model),
    }[settings.importance]()
    return _plan(model, settings, importance)


def _plan(model: keras.Model, settings: Cut, importance: Importance) -> CutPlan:
    return plan(
        model,
        1 - settings.share,
        importance=importance,
        multiple_of=settings.multiple_of,
        least=settings.least or None,
        layers={p: 1 - s for p, s in settings.layers.items()} | dict.fromkeys(settings.skip, 1.0),
        traffic=settings.traffic,
    )


def _batches(config: TrainConfig) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Training images as they are, evenly spaced over the set."""
    data = data_sets.open_data(Path(config.data))
    split = data_sets.load_split(data, "train", config.size, config.memory_limit_mb << 20)
    chosen = list(evenly_spaced(len(split.names), IMAGES))
    for start in range(0, len(chosen), config.batch):
        part = chosen[start : start + config.batch]
        yield runtime.to_float(split.images[part]), split.masks[part]
