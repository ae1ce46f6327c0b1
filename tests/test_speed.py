"""The ratio of two files' times, and what is said of the slower one."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from footseg import runtime
from footseg.export import speed
from footseg.export.speed import Speed


def a_speed(**changes: Any) -> Speed:
    found = Speed(
        ratio=9.25,
        low=9.0,
        high=9.5,
        rounds=7,
        threads=1,
        operators=67,
        outside={"CONV_2D": 12, "DEPTHWISE_CONV_2D": 4},
        device={"cpu": "A core", "cores": 2},
    )
    return dataclasses.replace(found, **changes)


def test_a_slower_file_is_said_to_be_so_with_the_operators_outside() -> None:
    assert a_speed().slower
    assert a_speed().warning("net.tflite") == (
        "net.tflite is slower than fp32 on this machine: 9.25 times its time (7 rounds in turns, 1 thread); "
        "16 of its 67 operators run outside XNNPACK: CONV_2D 12, DEPTHWISE_CONV_2D 4"
    )
    alone = a_speed(outside={}, threads=2).warning("net.tflite")
    assert alone.endswith("2 threads); though XNNPACK runs all of its operators")
    assert a_speed(operators=0, outside={}).warning("net.onnx").endswith("(7 rounds in turns, 1 thread)")
    assert a_speed(ratio=0.45).summary() == "0.45 of fp32's time on this machine"
    assert a_speed().to_json()["kind"] == "measured"


@pytest.mark.parametrize(
    ("ratio", "low", "slower"),
    [(0.5, 0.4, False), (1.04, 1.03, False), (1.2, 0.9, False), (1.06, 1.01, True)],
)
def test_noise_is_not_called_slower(ratio: float, low: float, slower: bool) -> None:
    """Neither a few per cent nor a median that one round in four contradicts."""
    assert a_speed(ratio=ratio, low=low).slower is slower


def test_the_ratio_is_the_median_of_rounds_in_turns(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine that is slower by half in each round than before: what both files share cancels."""
    order: list[str] = []

    class Fake:
        def __init__(self, path: Path, threads: int) -> None:
            self.path = path

        def turn(self) -> float:
            order.append(self.path.stem)
            return 1.5 ** ((len(order) - 1) // 2) * (3.0 if self.path.stem == "new" else 2.0)

    monkeypatch.setattr(speed, "_Loaded", Fake)
    monkeypatch.setattr(runtime, "delegation", lambda *_: runtime.Delegation(9, 8, 1, {"CEIL": 1}))
    found = speed.against(tmp_path / "new.tflite", tmp_path / "old.tflite", seconds=0)
    assert (found.ratio, found.low, found.high, found.rounds) == (1.5, 1.5, 1.5, speed.ROUNDS[0])
    assert (found.operators, found.outside) == (9, {"CEIL": 1})
    assert order == ["new", "old", *["new", "old", "old", "new"] * 2, "new", "old"]
