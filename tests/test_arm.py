"""``--on arm``: exported files on emulated cores, against this machine, counted."""

import json
from pathlib import Path

import pytest

from footseg.android_harness import toolchain
from footseg.android_harness.emulator import Counts
from footseg.benchmarks import arm
from footseg.benchmarks.measurement import Agreement, Instructions, Measurement
from footseg.errors import FootsegError
from footseg.export.ends import Asked, with_ends
from tests import arm_graphs


def test_exported_files_agree_with_this_machine(tiny_artifacts: dict[str, Path], tiny_data: Path) -> None:
    paths = [tiny_artifacts[recipe] for recipe in ("fp32", "fp16", "int8")]
    cores = ("cortex-a53", "cortex-a76")
    lines = list(arm.measure_all(paths, cores, data=tiny_data, images=4))
    assert [(line.artifact.path, line.device["cpu"]) for line in lines] == [
        (path, f"emulated Cortex-{core}") for path in paths for core in ("A53", "A76")
    ]
    for line in lines:
        assert line.kind == "emulated"
        assert line.device["architecture"] == "aarch64"
        assert line.device["system"].startswith("QEMU ")
        assert line.runtime_version == toolchain.litert_version()
        # Emulated: no clock has any say in these lines.
        assert (line.latency, line.cold_start, line.peak_memory_mb, line.energy) == (None, None, None, None)
        found = line.agreement
        assert found is not None
        assert (found.data, found.split, found.images) == (tiny_data.name, "test", 4)
        # What is promised of fp32: of 4 x 64 x 64 pixels one. Integers may round a half the other way.
        assert found.pixels_equal >= (0.999 if line.artifact.recipe == "int8" else 0.9999)
        assert found.iou is not None
        assert found.iou == pytest.approx(found.host_iou, abs=1e-3)
        assert found.boundary_f == pytest.approx(found.host_boundary_f, abs=1e-2)
        # Sums in another order: units in the last place of logits up to some ten. An integer that is one step
        # off is further from it, by as much as the scale of the layer that it is in.
        assert found.logit_max_absolute is not None
        assert found.logit_max_absolute < (0.5 if line.artifact.recipe == "int8" else 1e-4)
        counted = line.instructions
        assert counted is not None
        assert len(counted.samples) == 3
        assert counted.spread <= 1e-5
        assert counted.total == counted.vector + counted.load_store + counted.other
        # A vector instruction multiplies 16 numbers at most.
        assert counted.vector > line.cost["macs"] / 16
        record = json.loads(json.dumps(line.to_json()))
        assert Measurement.from_json(record).to_json() == line.to_json()
    totals = {(x.artifact.recipe, x.instructions.core): x.instructions.total for x in lines if x.instructions}
    assert totals["int8", "cortex-a76"] < totals["int8", "cortex-a53"], "dot products came with Armv8.2"


def test_without_data_noise_is_compared_and_said(tmp_path: Path) -> None:
    path = arm_graphs.convolution(tmp_path / "g.tflite", arm_graphs.random())
    (line,) = arm.measure_all([path], images=2, inferences=1)
    assert line.agreement == Agreement(
        data="generated noise", split="", images=2, pixels_equal=1.0,
        logit_max_absolute=pytest.approx(0, abs=5e-6),
    )  # fmt: skip
    (same,) = arm.measure_all([path], images=2, inferences=1)
    assert (same.agreement, same.instructions) == (line.agreement, line.instructions)


def test_integer_ends(tmp_path: Path) -> None:
    numbers, logits = arm_graphs.PIXELS, arm_graphs.Numbers(0.05, 3)
    path = arm_graphs.convolution(tmp_path / "g.tflite", arm_graphs.random(), numbers=numbers, logits=logits)
    (line,) = arm.measure_all([path], ["cortex-a72"], images=2, inferences=1)
    assert line.agreement is not None
    assert line.agreement.pixels_equal >= 0.998  # 1 pixel of 512
    assert line.agreement.logit_max_absolute in (0.0, pytest.approx(0.05, rel=1e-6))  # one step of int8


@pytest.mark.parametrize("output", ["foreground", "mask"])
def test_pixels_in_one_channel_out(output: str, tmp_path: Path) -> None:
    path = arm_graphs.convolution(tmp_path / "g.tflite", arm_graphs.random())
    path.write_bytes(with_ends(path.read_bytes(), Asked("uint8", output)))
    (line,) = arm.measure_all([path], images=2, inferences=1)
    assert line.agreement is not None
    assert line.agreement.pixels_equal == 1
    assert line.agreement.logit_max_absolute == pytest.approx(0, abs=5e-6)


def test_lines_come_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what is complete is kept when something fails later."""
    good = arm_graphs.convolution(tmp_path / "good.tflite", arm_graphs.random())
    bad = tmp_path / "bad.tflite"
    bad.write_bytes(good.read_bytes()[:64])
    lines = arm.measure_all([good, bad], images=1, inferences=1)
    assert next(lines).artifact.path == good
    with pytest.raises(FootsegError, match=r"bad\.tflite is damaged or cut off"):
        next(lines)


def test_the_inference_in_the_middle_stands_for_all() -> None:
    counts = [Counts(10, 20, 30, 5), Counts(10, 20, 34, 5), Counts(10, 20, 31, 5), Counts(10, 21, 30, 6)]
    # Totals 60, 64, 61, 61.
    assert arm.instructions("cortex-a76", counts) == Instructions(
        core="cortex-a76", samples=(60, 64, 61, 61), total=61, vector=10, load_store=20, other=31,
        spread=4 / 61,
    )  # fmt: skip


def test_wrong_arguments_cost_no_time(tmp_path: Path, tiny_artifacts: dict[str, Path]) -> None:
    path = tiny_artifacts["fp32"]
    with pytest.raises(FootsegError, match="no core 'cortex-a75' can be emulated: did you mean 'cortex-a7"):
        arm.measure_all([path], ["cortex-a75"])
    with pytest.raises(FootsegError, match=r"\.onnx is no \.tflite file, and no other runs on the emulated"):
        arm.measure_all([path, tiny_artifacts["onnx"]])
    with pytest.raises(FootsegError, match="no such file"):
        arm.measure_all([tmp_path / "none.tflite"])
    with pytest.raises(ValueError, match="inferences must be 1 or more, not 0"):
        arm.measure_all([path], inferences=0)
    with pytest.raises(ValueError, match="images of noise must be 1 or more, not 0"):
        next(arm.measure_all([path], images=0))


def test_a_core_may_be_named_in_short() -> None:
    assert [arm._core(name) for name in ("a53", "cortex-a53", "max")] == ["cortex-a53", "cortex-a53", "max"]


def test_missing_tools_are_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = arm_graphs.convolution(tmp_path / "g.tflite", arm_graphs.random())
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FootsegError, match=r"qemu-aarch64, aarch64-linux-gnu-gcc, .*not found: make arm"):
        arm.measure_all([path])


def test_what_fails_on_the_core_is_told_with_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = arm_graphs.convolution(tmp_path / "g.tflite", arm_graphs.random())
    monkeypatch.setattr(arm, "START_SECONDS", 0.01)
    monkeypatch.setattr(arm, "INFERENCE_SECONDS", 0)
    with pytest.raises(
        FootsegError, match=r"g\.tflite on an emulated cortex-a76: .*did not end within 0\.01 s"
    ):
        next(arm.measure_all([path]))
