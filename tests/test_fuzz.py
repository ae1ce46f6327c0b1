"""A share of ``make fuzz``: damaged files of many kinds, none of which may crash a command."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from footseg.benchmarks.experiments.fuzz import cases, corpus, damage, trial
from tests.test_layout import MODULES

ROOT = Path(__file__).resolve().parents[1]
# Kinds that need no Keras, and of the others those whose files the fixtures are.
LIGHT = ("runner", "benchmark_model", "answer of a client", ".tflite, read", ".onnx, read", "labels")
OTHERS = (
    "image", "image of a data set", "mask", "dataset.toml", "config.toml", "space.toml", "model.keras",
    "weights of an encoder", ".tflite, run", ".onnx, run", "weights beside an .onnx", "golden.json",
    "golden vectors",
)  # fmt: skip


def whole(folder: Path, given: dict[str, Path]) -> None:
    """What the fixtures made in place of what ``corpus`` would make anew."""
    (folder / ".made").mkdir(parents=True)
    for place, source in given.items():
        (folder / place).parent.mkdir(exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, folder / place)
        (folder / ".made" / place.partition("/")[0]).touch()


def fuzz(work: Path, count: int, only: tuple[str, ...], *more: str) -> str:
    """What it printed; it ends with 1 where it finds anything."""
    words = ["--work", str(work), "--count", str(count), "--jobs", "1", "--seed", "7", "--only", *only, *more]
    done = subprocess.run(
        [sys.executable, "-m", "footseg.benchmarks.experiments.fuzz", *words],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def work(tmp_path: Path, tiny_data: Path, tiny_run: Path, tiny_artifacts: dict[str, Path]) -> Path:
    """A folder to fuzz in, with the files of the fixtures."""
    names = {corpus.TFLITE: "fp32", corpus.INT8: "int8", corpus.ONNX: "onnx"}
    files = {place: tiny_artifacts[name] for place, name in names.items()}
    whole(tmp_path / "whole", {"data": tiny_data, "run": tiny_run, **files})
    return tmp_path


def test_damaged_files_of_light_kinds(work: Path) -> None:
    assert '"mutants": 60' in fuzz(work, 60, LIGHT, "--light")


@pytest.mark.slow
def test_damaged_files_of_many_kinds(work: Path) -> None:
    assert '"mutants": 150' in fuzz(work, 150, OTHERS)


def test_a_mutant_is_the_same_whenever_it_is_asked_for(tmp_path: Path) -> None:
    corpus.make(tmp_path, {"config.toml", "runner.txt", "labels.txt", "space.toml"})
    chosen = tuple(case for case in cases.CASES if case.name in ("runner", "config.toml", "space.toml"))
    one, again = ([cases.mutant(tmp_path, 3, n, chosen) for n in range(40)] for _ in range(2))
    assert one == again
    assert len({mutant.data for mutant in one}) > 30


@pytest.mark.parametrize(
    ("said", "code", "finding"),
    [
        ("Traceback (most recent call last):\nKeyError: 1", 1, "traceback"),
        ("x.py:3: RuntimeWarning: overflow", 0, "warning"),
        ("", 1, "no word"), ("footseg: no", 1, ""), ("done", 0, ""), ("", -11, "signal 11"),
        ("footseg: interrupted", 130, "exit code 130"),
        (f"{trial.UNREADABLE} a.json", 0, "unreadable result"),
    ],
)  # fmt: skip
def test_what_a_finding_is(said: str, code: int, finding: str) -> None:
    assert trial.Ended(code, 1.0, 10**8, said).finding == finding
    assert trial.Ended(code, 61.0, 10**8, said).finding == "hang"
    assert trial.Ended(code, 1.0, 5 * 10**9, said).finding == "memory"


def test_damage_is_there() -> None:
    """Of a thousand damaged records hardly any is the record that it was."""
    record = b'{"a": [1, 2.5, "x"], "b": {"c": null}}'
    damaged = [damage.of_json(record, Random(number))[1] for number in range(1000)]
    # Of a text this short every tenth is left as it is by lines that there are none of.
    assert sum(data == record for data in damaged) < 120


# Calls that read a file, by the end of their name.
READS = {
    "read_json", "read_toml", "parse_json", "read_text", "read_bytes", "load_model", "ZipFile",
    "InferenceSession", "Interpreter", "records.read", "np.load", "json.loads", "Image.open", "onnx.load",
    "typed.read",
}  # fmt: skip
# What reads nothing that a user has: files of this installation, of the kernel, of footseg's own children or
# of caches that it makes anew; fields that are JSON already; and those that hand on to a reader;
# and PyTorch's files, which nothing here writes.
OTHER = {
    "footseg.android_harness.emulator", "footseg.android_harness.toolchain", "footseg.export.auto",
    "footseg.export.clients.compare", "footseg.export.clients.install", "footseg.export.metadata",
    "footseg.export.onnx_contents", "footseg.export.onnx_quantize", "footseg.export.pipeline",
    "footseg.export.quantize", "footseg.foreign.adopt", "footseg.networks._torch_file", "footseg.predict",
    "footseg.artifact", "footseg.benchmarks.android", "footseg.benchmarks.fresh",
    "footseg.benchmarks.measurement", "footseg.benchmarks.pages.frontier", "footseg.benchmarks.pages.page",
    "footseg.benchmarks.worker", "footseg.commands._shared", "footseg.commands.reproducing",
    "footseg.compress.twin", "footseg.data.composite", "footseg.data.cutouts", "footseg.data.folder",
    "footseg.description",
    "footseg.doctor", "footseg.files", "footseg.installation", "footseg.locks", "footseg.provenance",
    "footseg.records", "footseg.search.spark", "footseg.search.worker", "footseg.training.distribution",
    "footseg.training.lessons",
}  # fmt: skip


def reads(path: Path) -> bool:
    calls = (node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
    names = (ast.unparse(call) for call in calls if isinstance(call, ast.Attribute | ast.Name))
    return any(name == end or name.endswith(f".{end}") for name in names for end in READS)


def test_no_reader_is_forgotten() -> None:
    """A module that comes to read files is damaged, too: a ``Case`` names it, or it stands in ``OTHER``."""
    known = set(cases.readers())
    assert known <= set(MODULES)
    found = {
        name for name, path in MODULES.items()
        if reads(path) and not any(part in name for part in (".experiments.", ".scripts.", ".reproduce."))
    }  # fmt: skip
    assert sorted(found - known - OTHER) == []
