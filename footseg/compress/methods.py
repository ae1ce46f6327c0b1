"""The ways of compressing, a row each, from which the command line makes its flags: nothing heavy here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from footseg.errors import check_known


@dataclass(frozen=True)
class MethodRow:
    """What is said of a way of compressing.

    ``retraining`` are the training options of a step where nothing else is said. The flag's value is the
    method's option ``option``, of type ``kind``; "" and None for a flag without one.
    """

    help: str
    retraining: Mapping[str, Any]
    option: str = ""
    kind: type[float | int] | None = None


# What a method made of the weights an average of them would undo, so those that hold it have none (ema).
METHODS: Mapping[str, MethodRow] = {
    "cut": MethodRow(
        "remove channels until this share of the MACs is gone (0.5)",
        {"epochs": 40, "learning_rate": 2e-3},
        option="share",
        kind=float,
    ),
    "prune": MethodRow(
        "make this share of the kernels' weights zero (0.7)",
        {"epochs": 30, "learning_rate": 1e-3, "ema": 0.0},
        option="sparsity",
        kind=float,
    ),
    "cluster": MethodRow(
        "let each layer have this many distinct weights (8 to 256)",
        {"epochs": 8, "learning_rate": 2e-4, "ema": 0.0},
        option="clusters",
        kind=int,
    ),
    "qat": MethodRow(
        "train for int8; export --precision int8 then needs no calibration",
        {"epochs": 6, "learning_rate": 1e-4, "ema": 0.0},
    ),
}


def settings_of(name: str) -> type[Any]:
    """The dataclass that is a method: its fields are the method's options. Imports TensorFlow.

    Raises:
        ValueError: no such method; the nearest is suggested.
    """
    check_known("no compression", name, METHODS)
    from footseg.compress.cluster import Cluster
    from footseg.compress.cut import Cut
    from footseg.compress.prune import Prune
    from footseg.compress.qat import QuantizationAware

    return {"cut": Cut, "prune": Prune, "cluster": Cluster, "qat": QuantizationAware}[name]
