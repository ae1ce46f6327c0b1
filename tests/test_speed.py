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
        rounds=9,
        operators=67,
        outside={"CONV_2D": 12, "DEPTHWISE_CONV_2D": 4},
        device={"cpu": "A core", "cores": 2},
    )
    return dataclasses.replace(found, **changes)


def test_a_slower_file_is_said_to_be_so_with_the_operators_outside() -> None:
    assert a_speed().slower
    assert a_speed().warning("net.tflite") == (
        "net.tflite is slower than fp32 on this machine: 9.25 [9.00, 9.50] times its time (9 rounds in "
        "turns, 1 thread); 16 of its 67 operators run outside XNNPACK: CONV_2D 12, DEPTHWISE_CONV_2D 4"
    )
    assert a_speed(outside={}).warning("net.tflite").endswith("; though XNNPACK runs all of its operators")
    assert a_speed(operators=0, outside={}).warning("net.onnx").endswith("(9 rounds in turns, 1 thread)")
    faster = a_speed(ratio=0.45, low=0.44, high=0.47)
    assert faster.summary() == "0.45 [0.44, 0.47] of fp32's time on this machine"
    assert (faster.to_json()["kind"], faster.to_json()["verdict"]) == ("measured", "not slower")


@pytest.mark.parametrize(
    ("low", "high", "waited", "said"),
    [
        (0.4, 0.5, 0.0, "not slower"),
        (0.98, 1.04, 0.0, "not slower"),  # a few per cent are noise
        (1.06, 1.1, 0.0, "slower"),
        (1.01, 1.3, 0.0, "cannot tell"),
        # Beside other work, what that may add to this file alone stands between: 1.15.
        (1.06, 1.3, 0.6, "cannot tell"),
        (0.98, 1.04, 0.6, "not slower"),
        (0.4, 0.8, 0.6, "not slower"),
        (1.4, 2.7, 0.6, "slower"),
    ],
)
def test_what_is_called_slower(low: float, high: float, waited: float, said: str) -> None:
    found = a_speed(ratio=(low * high) ** 0.5, low=low, high=high, waited=waited)
    assert (found.verdict, found.slower) == (said, said == "slower")
    assert ("nobody can tell" in found.summary()) is (said == "cannot tell")
    assert ("other work 60%" in found.summary()) is (said == "cannot tell" and waited > 0)


def test_the_ratio_is_of_rounds_in_turns(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine that is slower by half in each round than before: what both files share cancels."""
    order: list[str] = []

    class Fake:
        def __init__(self, path: Path) -> None:
            self.path = path

        def turn(self) -> float:
            order.append(self.path.stem)
            return 1.5 ** ((len(order) - 1) // 2) * (3.0 if self.path.stem == "new" else 2.0)

    monkeypatch.setattr(speed, "_Loaded", Fake)
    monkeypatch.setattr(runtime, "delegation", lambda *_: runtime.Delegation(9, 8, 1, {"CEIL": 1}))
    found = speed.against(tmp_path / "new.tflite", tmp_path / "old.tflite", seconds=0)
    # 1e-12: logarithms and back
    assert (found.ratio, found.low, found.high) == pytest.approx((1.5, 1.5, 1.5), rel=1e-12)
    assert found.rounds == speed.ROUNDS[0] == 8
    assert (found.operators, found.outside) == (9, {"CEIL": 1})
    assert order == ["new", "old", *["new", "old", "old", "new"] * 4]
