"""What ``footseg bench`` refuses before time goes into measuring, and what it keeps when a place fails."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from footseg.benchmarks.measurement import Measurement
from footseg.benchmarks.results_file import append_line
from tests import arm_graphs
from tests.test_cli import footseg, one_line
from tests.test_gate import beside
from tests.test_host import waited_for
from tests.test_measurement import a_measurement


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A .tflite file of one convolution."""
    return arm_graphs.convolution(tmp_path / "g.tflite", arm_graphs.random())


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may be measured."""

    def never(*paths: object, **options: object) -> None:
        raise AssertionError("measured")

    for place in ("host", "arm"):
        monkeypatch.setattr(f"benchmarks.{place}.measure_all", never)


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--no-cool"], "--no-cool means nothing on host, only on android"),
        (["--no-xnnpack", "--on", "arm"], "--no-xnnpack means nothing on arm, only on android"),
        (["--threads", "2", "--on", "arm"], "--threads means nothing on arm, only on host and android"),
        (["--split", "val", "--on", "arm"], "--split means nothing without --data DIR"),
        (["--allow", "1.1"], "--allow means nothing without --gate BASELINE.jsonl"),
        (["--allow-iou", "0"], "--allow-iou means nothing without --gate BASELINE.jsonl"),
        (["--allow-unknown"], "--allow-unknown means nothing without --gate BASELINE.jsonl"),
        (["--on", "arn"], "--on arn: no such place; did you mean 'arm'?"),
        (["--on", "host:x"], "--on host:x: host is this machine and takes no name"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_flag_that_nothing_would_read_is_refused(model: Path, flags: list[str], line: str) -> None:
    assert line in one_line(footseg("bench", model, *flags, code=1))


@pytest.mark.usefixtures("unmeasured")
def test_the_last_file_is_looked_at_before_the_first_is_measured(model: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(model.read_bytes()[: model.stat().st_size // 2])
    assert "cut.tflite is damaged" in one_line(footseg("bench", model, cut, code=1))


@pytest.mark.usefixtures("unmeasured")
def test_where_results_go_is_looked_at_before_anything_is_measured(model: Path, tmp_path: Path) -> None:
    line = one_line(footseg("bench", model, "--out", tmp_path, code=1))
    assert line == f"footseg: {tmp_path} cannot be written (Is a directory): give --out another file"
    before = model.read_bytes()
    assert "is a file to be measured" in one_line(footseg("bench", model, "--out", model, code=1))
    assert model.read_bytes() == before


def test_nothing_of_an_emulator_is_left_when_another_program_ends_it(model: Path, tmp_path: Path) -> None:
    """A stand-in for QEMU runs for ever."""
    started, temporary = tmp_path / "started", tmp_path / "temporary"
    temporary.mkdir()
    qemu = tmp_path / "qemu-aarch64"
    qemu.write_text(
        f'#!/bin/sh\ncase "$*" in *--version*) exec {shutil.which("qemu-aarch64")} "$@";; esac\n'
        f"echo $$ > {started}.new; mv {started}.new {started}; exec sleep 600\n"
    )
    qemu.chmod(0o755)
    process = subprocess.Popen(
        [sys.executable, "-m", "footseg", "bench", model, "--on", "arm"],
        env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "TMPDIR": str(temporary)},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        waited_for(started.exists)
        process.terminate()
        _, said = process.communicate(timeout=30)
    finally:
        process.kill()
    assert (process.returncode, said) == (130, "footseg: interrupted\n")
    assert not Path(f"/proc/{started.read_text().strip()}").exists()
    assert not list(temporary.iterdir())


def test_what_nobody_can_tell_has_an_exit_code_of_its_own(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither green by silence nor red for a machine's other work; worse is worse whatever is allowed."""
    stored = tmp_path / "baseline.jsonl"
    append_line(stored, beside(1, [10.0] * 20, 0.0))
    gate = ("bench", model, "--gate", stored)
    for ms, waited, code, allowed in ((10.0, 0.0, 0, 0), (11.5, 0.6, 3, 0), (11.5, 0.0, 1, 1)):
        line = beside(1, [ms] * 20, waited)
        monkeypatch.setattr("footseg.benchmarks.host.measure_all", lambda paths, line=line: [line])
        said = footseg(*gate, code=code).stdout
        assert ("passed so far as anybody can tell: 1 cannot tell" in said) is (code == 3)
        footseg(*gate, "--allow-unknown", code=allowed)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_full_disk_loses_nothing_of_what_was_measured(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "footseg.benchmarks.host.measure_all", lambda paths: [a_measurement(), a_measurement()]
    )
    done = footseg("bench", model, "--out", "/dev/full", "--json", code=1)
    assert [line["kind"] for line in json.loads(done.stdout)] == ["measured", "measured"]
    assert done.stderr.count("the disk is full") == 1


def test_stopped_in_the_middle_it_says_what_is_kept(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(paths: list[Path]) -> Iterator[Measurement]:
        yield a_measurement()
        raise KeyboardInterrupt

    monkeypatch.setattr("footseg.benchmarks.host.measure_all", stopped)
    out = tmp_path / "results.jsonl"
    said = footseg("bench", model, model, "--out", out, code=130).stderr
    assert said.splitlines() == [f"footseg: 1 result so far is in {out}", "footseg: interrupted"]
    assert len(out.read_text().splitlines()) == 1
    assert footseg("bench", model, model, code=130).stderr == "footseg: interrupted\n"


def test_a_place_that_fails_loses_nothing_of_another(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host's line is there, the missing emulator is said, and the exit code tells of it."""
    monkeypatch.setattr("footseg.benchmarks.host.measure_all", lambda paths: [a_measurement()])
    monkeypatch.setenv("PATH", str(tmp_path))
    out = tmp_path / "results.jsonl"
    done = footseg("bench", model, "--on", "host", "--on", "arm", "--out", out, "--json", code=1)
    assert [line["kind"] for line in json.loads(done.stdout)] == ["measured"]
    assert len(out.read_text().splitlines()) == 1
    assert "qemu-aarch64" in done.stderr
