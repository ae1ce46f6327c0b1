"""``--cut``: whole channels go, and the smaller network is retrained like any other."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from footseg import run
from footseg.config import TrainConfig
from footseg.job import Builder


@dataclass(frozen=True)
class Cut:
    """Remove channels until ``share`` of the MACs is gone."""

    share: float = 0.5


def builder(
    parent: run.Run,
    settings: Cut,
    config: TrainConfig,
    folder: Path,
    entry: dict[str, Any],
    say: Callable[[str], None],
) -> Builder:
    raise NotImplementedError
