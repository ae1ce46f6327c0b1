"""The command line as its user meets it: help, streams, exit codes, one clear line for each mistake."""

import contextlib
import io
import json
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from footseg import cli
from footseg.files import sha256


def footseg(*arguments: str | Path, code: int = 0) -> "subprocess.CompletedProcess[str]":
    """Run a command in this process, which has imported the heavy packages once."""
    words = [str(argument) for argument in arguments]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            ended = cli.main(words)
        except SystemExit as usage:
            ended = int(usage.code or 0)
    assert ended == code, err.getvalue()
    return subprocess.CompletedProcess(words, ended, out.getvalue(), err.getvalue())


def footseg_process(
    *arguments: str | Path, code: int = 0, **keywords: Any
) -> "subprocess.CompletedProcess[str]":
    """Run a command as its user does."""
    done = subprocess.run(
        [sys.executable, "-m", "footseg", *map(str, arguments)],
        capture_output=True, text=True, check=False, timeout=300, **keywords,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done


def one_line(done: "subprocess.CompletedProcess[str]") -> str:
    """The error of a command that must have said one line and nothing else."""
    assert done.stdout == ""
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("footseg: ")
    return lines[0]


COMMANDS = [command.words for command in cli.COMMANDS]


@pytest.mark.parametrize("words", [(), ("data",), *COMMANDS], ids=" ".join)
def test_every_command_has_help(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([*words, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: footseg")
    assert "None" not in text
    assert len(text.splitlines()) > 5


def test_help_lists_commands_in_the_order_in_which_people_use_them() -> None:
    _, _, commands = footseg("--help").stdout.partition("COMMAND\n")
    listed = re.findall(r"^    ([a-z]+)(?: |$)", commands, re.MULTILINE)
    wanted = "demo doctor networks data train evaluate predict adopt export verify describe golden bench"
    assert listed == [*wanted.split(), "report", "cost", "compress", "search", "study", "reproduce"]


def test_every_argument_has_help() -> None:
    silent = [
        f"{' '.join(command.words)} {action.option_strings or action.dest}"
        for command in cli.COMMANDS
        for action in actions(command)
        if not action.help
    ]
    assert not silent


def actions(command: cli.Command) -> list[object]:
    import argparse

    sub = argparse.ArgumentParser()
    command.add_arguments(sub)
    return sub._actions


def test_help_answers_in_half_a_second() -> None:
    """Of the processor, the fastest of five: what the command takes, not what else the machine was doing."""

    def used() -> float:
        spent = resource.getrusage(resource.RUSAGE_CHILDREN)
        return spent.ru_utime + spent.ru_stime

    took = []
    for _ in range(5):
        before = used()
        footseg_process("--help")
        took.append(used() - before)
    assert 0 < min(took) < 0.5


def test_help_imports_little() -> None:
    """It answers in 0.2 s where nothing else runs; how much it imports is the same on a busy machine."""
    code = "import sys; from footseg import cli; cli.parser(cli.COMMANDS); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = done.stdout.split()
    # What an installation in place puts on the path begins with an underscore.
    others = {name.split(".")[0] for name in imported if not name.startswith("_")}
    assert others - set(sys.stdlib_module_names) == {"footseg"}
    assert len(imported) < 200  # 152 on Python 3.11, of which 68 are Python's own start; numpy alone is 120


def test_wrong_usage_is_exit_code_2() -> None:
    assert "invalid choice" in footseg("trian", code=2).stderr
    assert "unrecognized arguments" in footseg("doctor", "--fast", code=2).stderr
    assert "NAME=VALUE" in footseg("train", "x", "--out", "y", "--network-options", "width", code=2).stderr


def test_json_is_one_document_and_nothing_else(tiny_data: Path, tiny_run: Path) -> None:
    document = json.loads(footseg_process("evaluate", tiny_run, "--data", tiny_data, "--json").stdout)
    assert {"pixel_accuracy", "iou", "iou_per_image", "mean_iou", "boundary_f", "f1", "per_class"} <= set(
        document["metrics"]
    )
    assert len(json.loads(footseg("networks", "--json", "--size", "64").stdout)) >= 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_standard_output_on_a_full_disk_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "footseg", "doctor"],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=300,
        )  # fmt: skip
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
    assert "standard output cannot be written (No space left on device)" in done.stderr


# ---- each mistake of the user's, caused for real


def test_no_such_folder(tmp_path: Path) -> None:
    out = tmp_path / "run"
    line = one_line(footseg("train", "fast_linknet", "--data", tmp_path / "no", "--out", out, code=1))
    assert line == f"footseg: no such folder: {tmp_path / 'no'}"
    assert not out.exists()


def test_no_images(tmp_path: Path) -> None:
    (tmp_path / "train" / "images").mkdir(parents=True)
    line = one_line(footseg("train", "fast_linknet", "--data", tmp_path, "--out", tmp_path / "run", code=1))
    assert "no images in" in line
    assert not (tmp_path / "run").exists()


@pytest.fixture
def spoiled(tiny_data: Path, tmp_path: Path) -> Path:
    """A copy of the tiny data set, for a test to spoil."""
    return Path(shutil.copytree(tiny_data, tmp_path / "spoiled"))


def test_a_truncated_jpeg_in_the_middle_of_a_set(spoiled: Path, tmp_path: Path) -> None:
    image = sorted((spoiled / "train" / "images").iterdir())[11]
    image.write_bytes(image.read_bytes()[: image.stat().st_size // 2])
    line = one_line(footseg("train", "fast_linknet", "--data", spoiled, "--out", tmp_path / "run", code=1))
    assert image.name in line
    assert not (tmp_path / "run").exists()


def test_a_mask_of_another_size(spoiled: Path, tmp_path: Path) -> None:
    mask = sorted((spoiled / "train" / "masks").iterdir())[3]
    Image.fromarray(np.zeros((10, 10), np.uint8)).save(mask)
    line = one_line(footseg("train", "fast_linknet", "--data", spoiled, "--out", tmp_path / "run", code=1))
    assert mask.stem in line
    assert "10" in line
    assert not (tmp_path / "run").exists()


def test_a_class_index_out_of_range(spoiled: Path, tmp_path: Path) -> None:
    mask = sorted((spoiled / "train" / "masks").iterdir())[3]
    pixels = np.asarray(Image.open(mask)).copy()
    pixels[0, 0] = 7
    Image.fromarray(pixels).save(mask)
    line = one_line(footseg("train", "fast_linknet", "--data", spoiled, "--out", tmp_path / "run", code=1))
    assert mask.name in line
    assert "7" in line
    assert not (tmp_path / "run").exists()


def test_a_size_that_the_network_cannot_take(tiny_data: Path, tmp_path: Path) -> None:
    line = one_line(
        footseg(
            "train", "fast_linknet", "--data", tiny_data, "--size", "100", "--out", tmp_path / "run", code=1
        )
    )
    assert "the nearest is 128x128" in line
    assert not (tmp_path / "run").exists()


def test_an_unknown_network_and_loss(tiny_data: Path, tmp_path: Path) -> None:
    arguments = ["--data", tiny_data, "--out", tmp_path / "run"]
    assert "did you mean 'fast_linknet'" in one_line(footseg("train", "fastlink", *arguments, code=1))
    line = one_line(footseg("train", "fast_linknet", *arguments, "--loss", "cee", code=1))
    assert "did you mean 'ce'" in line
    assert not (tmp_path / "run").exists()


def test_a_tflite_cut_in_half(tiny_artifacts: dict[str, Path], tiny_data: Path, tmp_path: Path) -> None:
    whole = tiny_artifacts["fp32"].read_bytes()
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(whole[: len(whole) // 2])
    for command in (
        ["evaluate", cut, "--data", tiny_data],
        ["bench", cut],
        ["predict", cut, tiny_data / "test/images"],
    ):
        more = ["--out", tmp_path / "out"] if command[0] == "predict" else []
        assert "cut.tflite" in one_line(footseg(*command, *more, code=1))
    assert not (tmp_path / "out").exists()


def test_a_full_disk(tiny_run: Path, tiny_data: Path, tmp_path: Path) -> None:
    """No file may grow beyond 50 kB: the model does not fit, the small files do."""
    import resource

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    out = tmp_path / "artifacts"
    done = footseg_process("export", tiny_run, "--out", out, "--data", tiny_data, code=1, preexec_fn=limit)
    line = done.stderr.splitlines()
    assert "the disk is full" in line[-1], line
    assert not any(path.is_file() for path in out.rglob("*")), "nothing half-written"


@pytest.mark.parametrize(
    ("blocked", "command", "extra"),
    [
        ("keras", ["train", "fast_linknet", "--data", "{data}", "--out", "{out}"], "train"),
        ("keras", ["networks"], "train"),
        ("tensorflow", ["export", "{run}", "--out", "{out}"], "train"),
        ("onnxruntime", ["evaluate", "{onnx}", "--data", "{data}"], "onnx"),
        pytest.param(
            "ai_edge_quantizer",
            ["export", "{run}", "--out", "{out}", "--precision", "int8"],
            "compress",
            marks=pytest.mark.slow,  # it is not missed until the float file is made
        ),
        ("tf2onnx", ["export", "{run}", "--out", "{out}", "--to", "onnx"], "onnx"),
    ],
)
def test_a_missing_extra_says_what_to_install(
    blocked: str,
    command: list[str],
    extra: str,
    tiny_data: Path,
    tiny_run: Path,
    tiny_artifacts: dict[str, Path],
    tmp_path: Path,
) -> None:
    places = {"data": tiny_data, "run": tiny_run, "onnx": tiny_artifacts["onnx"], "out": tmp_path / "out"}
    # A finder ahead of all others, for which the package is not installed.
    code = f"""
import importlib.abc, sys
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] == {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
from footseg.cli import main
sys.exit(main({[part.format(**places) for part in command]!r}))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 1
    assert re.search(rf"pip install (-e )?\S*\[{extra}\]'?$", done.stderr.strip().splitlines()[-1])
    assert "footseg[" not in done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not any((tmp_path / "out").rglob("*.*")), "nothing half-written"


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = footseg_process("evaluate", tmp_path / "no.tflite", "--data", tmp_path, "--debug", code=1)
    assert "Traceback" in done.stderr


# ---- the path from a run to a page


def test_from_run_to_page(
    tiny_run: Path, tiny_artifacts: dict[str, Path], tiny_data: Path, tmp_path: Path
) -> None:
    results, page = tmp_path / "results.jsonl", tmp_path / "report.html"
    artifact = tiny_artifacts["int8"]
    text = footseg("evaluate", artifact, "--data", tiny_data, "--out", tmp_path / "evaluation").stdout
    assert "IoU" in text
    assert "worst:" in text
    assert artifact.name in footseg("bench", artifact, "--runs", "3", "--out", results).stdout
    line = json.loads(results.read_text())
    assert line["artifact"]["sha256"] == sha256(artifact)
    footseg("report", results, "--run", tiny_run, "--evaluation", tmp_path / "evaluation", "--out", page)
    assert artifact.name in page.read_text()


def test_predict_keeps_the_size_of_the_photograph(tiny_run: Path, tmp_path: Path) -> None:
    photograph = tmp_path / "tall photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (201, 77, 3), dtype=np.uint8)).save(photograph)
    footseg("predict", tiny_run, photograph, "--out", tmp_path / "out")
    mask = Image.open(tmp_path / "out" / "tall photo_mask.png")
    assert mask.size == (77, 201)
    assert mask.mode == "L"
