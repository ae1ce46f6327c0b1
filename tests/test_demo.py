"""The demo: its steps are commands that exist, in an order in which each finds what it needs."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from footseg import demo
from footseg.cli import COMMANDS, parser
from footseg.errors import FootsegError


class Recorder:
    """Takes the place of the command line: notes each step and leaves the files that the next look for."""

    def __init__(self, out: Path, failing: str = "") -> None:
        self.steps: list[list[str]] = []
        self.said: list[str] = []
        self.out, self.failing = out, failing

    def __call__(self, step: Sequence[str]) -> int:
        parser(COMMANDS).parse_args(step)  # SystemExit where a step is no command
        self.steps.append(list(step))
        if step[0] == "export":
            (self.out / "export").mkdir(parents=True)
            for name in (
                "a_fp32.tflite",
                "a_fp16.tflite",
                "a_int8.tflite",
                "a_fp32.onnx",
                "a_fp32.onnx.json",
            ):
                (self.out / "export" / name).touch()
        return 1 if step[0] == self.failing else 0


def test_every_artifact_is_evaluated_and_measured_and_every_step_is_printed(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    recorder = Recorder(out)
    report = demo.demo(out, command=recorder, say=recorder.said.append)
    assert report == out / "report.html"
    names = [step[0] if step[0] != "data" else " ".join(step[:2]) for step in recorder.steps]
    assert names[:5] == ["data synth", "data check", "data preview", "train", "export"]
    assert names[5:] == ["evaluate"] * 5 + ["bench", "report"]
    bench = next(step for step in recorder.steps if step[0] == "bench")
    assert sum(word.endswith((".tflite", ".onnx")) for word in bench) == 4
    assert len(recorder.said) == len(recorder.steps)
    assert all(f"footseg {step[0]}" in line for step, line in zip(recorder.steps, recorder.said, strict=True))


def test_ones_own_photographs_are_not_drawn_over(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "demo")
    demo.demo(tmp_path / "demo", data=tmp_path / "mine", command=recorder, say=recorder.said.append)
    assert recorder.steps[0] == ["data", "check", str(tmp_path / "mine")]
    assert not any(step[:2] == ["data", "synth"] for step in recorder.steps)


def test_a_failing_step_ends_the_demo_and_is_named(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "demo", failing="train")
    with pytest.raises(FootsegError, match=r"the demo stopped: footseg train .* ended with exit code 1"):
        demo.demo(tmp_path / "demo", command=recorder, say=recorder.said.append)
    assert recorder.steps[-1][0] == "train"


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.docx").touch()
    with pytest.raises(FootsegError, match="holds files that no demo made"):
        demo.demo(tmp_path, command=lambda step: 0, say=lambda line: None)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.docx"]
