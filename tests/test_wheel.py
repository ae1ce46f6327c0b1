"""What is installed: one name with all that it needs, and nothing of the folder that a user works in."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.arm_graphs import convolution, random
from tests.red_network import block, write_data

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ("footseg", "export", "benchmarks", "android_harness")
# In the checkout only.
LEFT_OUT = ("footseg/benchmarks/experiments/", "footseg/benchmarks/results/")

pytestmark = pytest.mark.slow


def do(*words: str | Path, cwd: Path, path: str = "") -> str:
    """Run a command to its end; returns its standard output. ``path`` is what PYTHONPATH has."""
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(
        [str(word) for word in words], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def wheel_of(source: Path, out: Path) -> Path:
    """Build a wheel without a network, by the setuptools that is here."""
    words = (
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--no-build-isolation",
        "--wheel-dir",
        out,
        source,
    )
    do(sys.executable, "-m", "pip", *words, cwd=out.parent)
    (wheel,) = out.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is built from, as a build leaves files beside its source."""
    pytest.importorskip("setuptools", reason="this Python has no setuptools to build with")
    copy = tmp_path_factory.mktemp("checkout")
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, copy)
    for name in SOURCE:
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=ignore)
    return copy


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the checkout."""
    return wheel_of(checkout, tmp_path_factory.mktemp("built") / "wheel")


def names(wheel: Path) -> set[str]:
    """The files in a wheel."""
    return set(zipfile.ZipFile(wheel).namelist())


def test_one_name_is_installed(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in names(wheel)}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"footseg"}


def test_every_file_of_the_package_is_in_it(wheel: Path, checkout: Path) -> None:
    found = {
        Path(folder, file).relative_to(checkout).as_posix()
        for folder, _, files in os.walk(checkout / "footseg", followlinks=True)
        for file in files
    }
    wanted = {name for name in found if not name.startswith(LEFT_OUT)}
    assert {name for name in names(wheel) if name.startswith("footseg/")} == wanted
    assert {"footseg/py.typed", "footseg/android_harness/native/runner.c"} <= wanted


def test_a_source_distribution_gives_the_same(wheel: Path, checkout: Path, tmp_path: Path) -> None:
    do(sys.executable, "setup.py", "--quiet", "sdist", "--dist-dir", tmp_path / "sdist", cwd=checkout)
    (sdist,) = (tmp_path / "sdist").iterdir()
    assert names(wheel_of(sdist, tmp_path / "wheel")) == names(wheel)


def test_no_file_of_the_user_shadows_it(wheel: Path, tmp_path: Path) -> None:
    site, here = tmp_path / "site", tmp_path / "project"
    words = ("install", "--quiet", "--no-deps", "--no-index", "--no-compile", "--target", site, wheel)
    do(sys.executable, "-m", "pip", *words, cwd=tmp_path)
    for name in ("footseg", "benchmarks", "export", "android_harness", "json", "numpy", "PIL"):
        (here / name).mkdir(parents=True)
        (here / name / "__init__.py").write_text("raise RuntimeError('a folder of the user was imported')\n")
    convolution(here / "model.tflite", random(kernel=1))
    write_data(here / "data", {"a": (block(4, 4, 9, 9),) * 2, "b": (block(8, 2, 9, 20),) * 2})

    def footseg(*words: str) -> str:
        return do(sys.executable, site / "bin" / "footseg", *words, cwd=here, path=str(site))

    assert "measured on" in footseg("bench", "model.tflite", "--runs", "2", "--out", "results.jsonl")
    assert "model.tflite on 2 images" in footseg("evaluate", "model.tflite", "--data", "data")
    assert "% of the pixels" in footseg("predict", "model.tflite", "data/test/images", "--out", "masks")
    assert "nothing was run" in footseg("cost", "model.tflite")
    assert "report.html" in footseg("report", "results.jsonl", "--out", "report.html")
    assert "python" in footseg("doctor")
