"""The configuration of a training run: one dataclass that is the TOML file, the flags and the record.

Later wins: defaults, then the preset, then the TOML file, then the flags.
"""

import dataclasses
import operator
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from footseg import files, records
from footseg.errors import FootsegError, check_known, did_you_mean

if TYPE_CHECKING:
    from footseg.training.augment import Augmentation

# Options that may differ from machine to machine: where equal things lie.
ELSEWHERE: dict[str, Any] = {"data": "", "extra_data": (), "teacher": "", "start_from": ""}

# The terms that compare with a teacher (``distill.py``), and what of it: logits may come from a cache.
LOGITS, FEATURES = "logits", "features"
TEACHER_TERMS = {"distill": LOGITS, "regression": LOGITS, "hint": FEATURES, "attention": FEATURES}


def _option(default: Any, text: str, *, choices: tuple[str, ...] = (), **limits: float) -> Any:
    """A field, its help and its limits: ``choices``, or ``least``, ``above``, ``most``, ``below``."""
    metadata = {"help": text, "choices": choices, **limits}
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class TrainConfig:
    """All that decides what a training run does. Every field is a flag and a TOML key of its name.

    The defaults are made for hundreds of photographs and twenty minutes of two cores. FastLinkNet on
    ``ccp_footwear`` (482 photographs), one seed each, validation IoU: 0.762 with these; 0.769 with learning
    rate 3e-3, weight decay 0.1 and 110 epochs; 0.751 with 2e-3, 0.05 and stronger augmentation. Test IoU of
    the first two: 0.743 and 0.734, so the order of two single seeds means little.
    """

    network: str = _option("", "network to train (footseg networks lists them)")
    data: str = _option("", "folder of the data set: DIR/{train,val,test}/{images,masks}")
    extra_data: tuple[str, ...] = _option((), "data sets whose train split is mixed in")
    extra_share: float = _option(0.5, "share of the training images that comes from them", above=0, below=1)
    size: tuple[int, int] = _option((256, 256), "height and width that images are letterboxed to")
    network_options: dict[str, Any] = _option(
        {}, "an option of the network, as NAME=VALUE; repeat it for more"
    )
    loss: tuple[str, ...] = _option(("ce", "iou"), "losses to add up, with optional weights: ce iou:0.5")
    class_weights: tuple[str, ...] = _option(
        ("none",), "none, inverse, exponential, enet, median, or one number a class"
    )
    weighting: str = _option(
        "outer", "outer: weights times losses; direct: times logits", choices=("outer", "direct")
    )
    focal_gamma: float = _option(2.0, "focusing exponent of the focal loss", least=0)
    boundary_width: int = _option(3, "pixels from an edge that the boundary loss weights", least=1)
    boundary_factor: float = _option(4.0, "how much more those pixels count", least=0)
    teacher: str = _option("", f"run that teaches: for the losses {', '.join(TEACHER_TERMS)}")
    temperature: float = _option(4.0, "T of the distill loss (thesis: 1 to 100)", above=0, most=1000)
    hint_until: float = _option(0.5, "share of the run until the hint's weight is 0", above=0, most=1)
    start_from: str = _option("", "run whose weights to start from; another head where classes differ")
    freeze_encoder: bool = _option(False, "leave the encoder as it is")
    precision: str = _option(
        "float32", "arithmetic of training; weights stay float32",
        choices=("float32", "mixed_float16", "mixed_bfloat16"),
    )  # fmt: skip
    balance: float = _option(0.0, "share of images drawn so that classes come equally often", least=0, most=1)
    epochs: int = _option(155, "passes over the training images", least=1)
    steps: int = _option(0, "steps an epoch, of images drawn anew each time (0: every image once)", least=0)
    batch: int = _option(16, "images a step", least=1)
    learning_rate: float = _option(4e-3, "highest learning rate, reached after the warm-up", above=0)
    warmup: float = _option(0.05, "share of all steps in which the rate rises", least=0, below=1)
    weight_decay: float = _option(0.15, "decoupled weight decay of the kernels (0: plain Adam)", least=0)
    clip: float = _option(0.0, "largest norm of the whole gradient (0: no limit)", least=0)
    ema: float = _option(0.995, "momentum of the weight average that is saved (0: off)", least=0, below=1)
    swa: float = _option(0.0, "last share of the run averaged with equal weights (0: off)", least=0, below=1)
    patience: int = _option(0, "epochs without a better validation IoU before stopping (0: never)", least=0)
    seed: int = _option(0, "seed of weights, order and augmentation", least=0)
    flip: float = _option(0.5, "probability of mirroring", least=0, most=1)
    affine: float = _option(
        0.25, "corner cell of the random affine, as a share (thesis: 1/3)", least=0, most=0.5
    )
    zoom_out: float = _option(0.15, "how far its corners may lie outside, as a share", least=0, most=0.5)
    colour: float = _option(0.4, "half-width of brightness, contrast, saturation changes", least=0, most=1)
    hue: float = _option(0.02, "half-width of hue changes, in turns", least=0, most=0.5)
    paste: float = _option(0.0, "probability of pasting another image's foreground in", least=0, most=1)
    resize: float = _option(
        0.0, "share of the images whose pixels come through another program's resizing", least=0, most=1
    )
    resize_by: tuple[str, ...] = _option(
        ("bilinear", "nearest", "area", "stretch"), "the resizings that it draws from, each equally often"
    )
    memory_limit_mb: int = _option(2048, "larger decoded sets are memory-mapped from a cache file", least=1)

    @property
    def dtype_policy(self) -> str:
        """The option ``precision``, as Keras calls it; of exported files ``export.precisions`` speaks."""
        return self.precision

    def augmentation(self) -> "Augmentation":
        """The part of it that says how images are augmented."""
        from footseg.training.augment import Augmentation  # brings numpy, which footseg --help does without

        return Augmentation(**{f.name: getattr(self, f.name) for f in dataclasses.fields(Augmentation)})

    def __post_init__(self) -> None:
        for option in dataclasses.fields(self):
            _check_limits(option, getattr(self, option.name))


PRESETS: dict[str, dict[str, Any]] = {
    # Minutes on two cores, whatever the size of the data set: to see the whole path work.
    "quick": {"epochs": 20, "steps": 20, "ema": 0.9, "learning_rate": 3e-3},
    # Section 3.4 of the thesis; it leaves the learning rate to its search.
    "thesis": {
        "epochs": 50,
        "steps": 50,
        "batch": 32,
        "learning_rate": 1e-3,
        "warmup": 0.0,
        "weight_decay": 0.0,
        "ema": 0.0,
        "loss": ["ce"],
        "affine": 1 / 3,
        "zoom_out": 0.0,
        "colour": 0.0,
        "hue": 0.0,
    },
}


def resolve(
    *, preset: str | None, file: Path | None, flags: Mapping[str, Any], resumed: Path | None = None
) -> TrainConfig:
    """Put a configuration together: defaults, preset, TOML file, flags; later wins.

    With ``resumed``, the configuration of the run to go on with, that one is it; the others may
    only repeat what it says, because a changed option would make another run of it. Where equal things lie
    (``ELSEWHERE``) may change: the run knows their fingerprints.

    Raises:
        FootsegError: the file cannot be read, or a key or value in it is wrong.
        ValueError: the same for presets and flags.
    """
    values = preset_values(preset)
    if file is not None:
        values |= load(file)
    values |= flags
    if resumed is not None and resumed.is_file():
        before = from_values(load(resumed))
        asked = dataclasses.asdict(from_values(values))
        for name in values.keys() - ELSEWHERE.keys():
            if asked[name] != getattr(before, name):
                raise ValueError(
                    f"{resumed.parent} was started with {name} = {getattr(before, name)!r}, "
                    f"not {asked[name]!r}: "
                    "leave the option out to resume it, or start anew with --force"
                )
        return dataclasses.replace(before, **_moved(before, asked, values, resumed.parent))
    resolved = from_values(values)
    for name in ("network", "data"):
        if not getattr(resolved, name):
            raise ValueError(f"no {name} given: footseg train NETWORK --data DIR --out RUN")
    return resolved


def _moved(
    before: "TrainConfig", asked: Mapping[str, Any], given: Collection[str], run: Path
) -> dict[str, Any]:
    """Where the data and models of a run that goes on lie: as given, else as its record says."""
    moved = {name: asked[name] for name in ELSEWHERE if name in given}
    if "data" not in moved and not Path(before.data).is_absolute() and (run / "run.json").is_file():
        # Typed in another folder, perhaps: the record has the whole path.
        moved["data"] = records.read(_Place, run / "run.json", "record of a run", "train it anew").data
    return {name: value for name, value in moved.items() if value}


@dataclass(frozen=True)
class _Place:
    """What is read here of ``run.json``."""

    data: str = ""


def preset_values(name: str | None) -> dict[str, Any]:
    """The values of a preset; none where ``name`` is None.

    Raises:
        ValueError: no such preset.
    """
    if name is None:
        return {}
    check_known("no preset", name, PRESETS)
    return dict(PRESETS[name])


def load(path: Path) -> dict[str, Any]:
    """The values of a TOML file.

    Raises:
        FootsegError: no such file, not TOML, an unknown key, a value of the wrong kind.
    """
    values = files.read_toml(path)
    try:
        from_values(values)
    except ValueError as error:
        raise FootsegError(f"{path}: {error}") from error
    return values


def from_values(values: Mapping[str, Any]) -> TrainConfig:
    """A configuration from plain values, each converted to its field's type.

    Raises:
        ValueError: an unknown name (the nearest is suggested), or a value of the wrong kind or out of range.
    """
    hints = get_type_hints(TrainConfig)
    for name in values:
        check_known("no option", name, hints)
    return TrainConfig(**{name: _convert(name, value, hints[name]) for name, value in values.items()})


def dump(config: TrainConfig) -> str:
    """The configuration as TOML, which ``load`` reads back to the same."""
    import tomli_w

    return tomli_w.dumps(dataclasses.asdict(config))


def _convert(name: str, value: Any, kind: Any) -> Any:
    expected, convert = _KINDS[kind]
    try:
        return convert(value)
    except TypeError:
        raise ValueError(f"{name} = {value!r} is not {expected}") from None


def _one_of(*kinds: type) -> Callable[[Any], Any]:
    """Convert values of ``kinds`` to the first of them; true and false are no numbers."""

    def convert(value: Any) -> Any:
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise TypeError
        return kinds[0](value)

    return convert


def _size(value: Any) -> tuple[int, int]:
    pair = tuple(value) if isinstance(value, list | tuple) else (value, value)
    if len(pair) != 2 or not all(type(side) is int and side > 0 for side in pair):
        raise TypeError
    return pair


def _names(value: Any) -> tuple[str, ...]:
    items = (value,) if isinstance(value, str) else value
    if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items):
        raise TypeError
    return tuple(items)


# What a value of each kind is called, and what makes one of it or raises TypeError.
_KINDS: dict[Any, tuple[str, Callable[[Any], Any]]] = {
    float: ("a number", _one_of(float, int)),
    int: ("a whole number", _one_of(int)),
    bool: ("true or false", _one_of(bool)),
    str: ("a text", _one_of(str, Path)),
    tuple[int, int]: ("a height and a width in pixels", _size),
    tuple[str, ...]: ("a list of names", _names),
    dict[str, Any]: ("a table of names and values", _one_of(dict, Mapping)),
}


LIMITS: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "least": ("at least", operator.ge),
    "above": ("more than", operator.gt),
    "most": ("at most", operator.le),
    "below": ("less than", operator.lt),
}


def _check_limits(option: "dataclasses.Field[Any]", value: Any) -> None:
    choices = option.metadata["choices"]
    if choices and value not in choices:
        raise ValueError(f"{option.name}: {did_you_mean(value, choices)}, not {value!r}")
    limits = [(*LIMITS[word], option.metadata[word]) for word in LIMITS if word in option.metadata]
    if not all(met(value, limit) for _, met, limit in limits):
        expected = " and ".join(f"{words} {limit:g}" for words, _, limit in limits)
        raise ValueError(f"{option.name} is {value}: it must be {expected}")
