"""What the experiment on GPUs looks at, and what its results say."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from footseg import networks
from footseg.benchmarks.experiments import gpu


@pytest.mark.parametrize("name", networks.names())
def test_each_option_is_tried_at_another_value(name: str) -> None:
    defaults = networks.options(name)
    assert set(gpu.VALUES[name]) == set(defaults) - {"dropout", "encoder_weights"}
    for option, values in gpu.VALUES[name].items():
        assert values
        assert defaults[option] not in values


def rows(section: str) -> Iterator[dict[str, Any]]:
    yield from json.loads(gpu.RESULTS.read_text(encoding="utf-8"))["rows"][section]


def test_every_network_in_float_is_the_same_on_a_gpu_alone() -> None:
    looked_at = {row["network"] for row in rows("options")}
    assert looked_at == set(networks.names())
    for row in rows("options"):
        assert row["alone"], row
        if row["precision"] != "int8":
            assert row["equal_decided"] >= 0.9999, row


def test_real_pictures_in_float_have_the_same_masks_on_a_gpu() -> None:
    found = [row for row in rows("pictures") if row["precision"] != "int8"]
    assert len(found) >= 4
    for row in found:
        assert row["images"] >= 100
        assert row["equal"] >= 0.9999, row


def test_what_gpus_need_costs_no_time_in_float() -> None:
    for row in rows("times"):
        assert row["fp32"]["ratio"] <= 1.01, row
