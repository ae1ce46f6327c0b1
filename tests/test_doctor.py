"""The doctor, shown installations that are really there: packages as metadata folders on the path."""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from footseg import doctor, installation
from footseg.cli import COMMANDS, parser

ROOT = Path(__file__).resolve().parents[1]
LINKED = ("export", "benchmarks", "android_harness")


def install(site: Path, name: str, version: str, *lines: str) -> None:
    """What pip leaves of a package, as far as importlib.metadata reads it."""
    folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir(parents=True)
    header = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    (folder / "METADATA").write_text("\n".join([*header, *lines]) + "\n")


@pytest.fixture
def site(tmp_path, monkeypatch):
    """An empty site-packages that comes before all others."""
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    (tmp_path / "site").mkdir()
    return tmp_path / "site"


def found(name: str) -> doctor.Diagnosis:
    return {finding.name: finding for finding in doctor.diagnose()}[name]


def install_footseg(site: Path, *requirements: str, python: str = ">=3.11") -> None:
    install(
        site, "footseg", "9", f"Requires-Python: {python}", *(f"Requires-Dist: {r}" for r in requirements)
    )


def test_packages_are_held_against_the_lowest_version(site):
    install_footseg(
        site,
        "quagga-base>=2.0",
        'quagga-old>=2.21; extra == "train"',
        'quagga-gone>=1.0; extra == "onnx"',
        'quagga-gone>=1.0; extra == "all"',
        "quagga-any; extra == 'dev'",
    )
    install(site, "quagga-base", "2")
    install(site, "quagga-old", "2.9.1")
    install(site, "quagga-any", "0.1")
    assert found("quagga-base") == doctor.Diagnosis("quagga-base", "ok", "2", required=True)
    assert found("quagga-old") == doctor.Diagnosis(
        "quagga-old",
        "old",
        "2.9.1, needs 2.21 or later, for: training, and running .keras files",
        "python -m pip install 'CHECKOUT[train]'",
    )
    assert found("quagga-gone") == doctor.Diagnosis(
        "quagga-gone",
        "missing",
        "needed for: exporting and running .onnx files",
        "python -m pip install 'CHECKOUT[onnx]'",
    )
    assert found("quagga-any").status == "ok"


def test_a_missing_base_package_is_required(site):
    install_footseg(site, "quagga-base>=2.0")
    finding = found("quagga-base")
    assert (finding.status, finding.required) == ("missing", True)
    assert finding.fix == "python -m pip install CHECKOUT"


@pytest.mark.parametrize(
    ("noted", "expected"),
    [
        ({"url": "file:///home/me/foot%20seg", "dir_info": {}}, "pip install '/home/me/foot seg[onnx]'"),
        ({"url": "file:///src", "dir_info": {"editable": True}}, "pip install -e '/src[onnx]'"),
        (
            {"url": "file:///a/footseg-9-py3-none-any.whl"},
            "pip install '/a/footseg-9-py3-none-any.whl[onnx]'",
        ),
        ({"url": "https://example.org/footseg.whl"}, "pip install 'CHECKOUT[onnx]'"),
        ([], "pip install 'CHECKOUT[onnx]'"),
    ],
)
def test_more_is_installed_from_where_footseg_came(site, noted, expected):
    """On no index is a footseg of ours: its name alone would bring a stranger's."""
    install_footseg(site)
    (site / "footseg-9.dist-info" / "direct_url.json").write_text(json.dumps(noted))
    assert installation.command("onnx") == expected


def test_every_requirement_of_setup_py_is_understood(site, tmp_path):
    """What setuptools really writes from setup.py, read back."""
    pytest.importorskip("setuptools", reason="this Python has no setuptools to read setup.py with")
    project = tmp_path / "project"
    (project / "footseg").mkdir(parents=True)
    for name in ("setup.py", "footseg/__init__.py"):
        shutil.copy(ROOT / name, project / name)
    for name in LINKED:
        (project / "footseg" / name).mkdir()
    (project / "README.md").touch()
    command = [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", str(site)]
    subprocess.run(command, cwd=project, check=True)
    wanted = {requirement.package: requirement for requirement in doctor.requirements()}
    lines = importlib.metadata.requires("footseg")
    assert set(wanted) == {line.split(";")[0].split(">=")[0].strip() for line in lines}
    assert wanted["numpy"].extras == ("",)
    assert wanted["tensorflow"].extras == ("train",)
    assert wanted["tensorflow"].minimum in next(line for line in lines if line.startswith("tensorflow>"))
    extras = {extra for requirement in wanted.values() for extra in requirement.extras}
    assert extras <= set(doctor.NEEDED_FOR), "an extra of setup.py that the doctor cannot explain"


def test_setup_py_says_where_links_are_no_links(tmp_path):
    """As git checks them out where it may not make links: the target's path in a file."""
    pytest.importorskip("setuptools", reason="this Python has no setuptools to run setup.py with")
    (tmp_path / "footseg").mkdir()
    for name in ("setup.py", "footseg/__init__.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "README.md").touch()
    for name in LINKED:
        (tmp_path / "footseg" / name).write_text(f"../{name}")
    done = subprocess.run(
        [sys.executable, "setup.py", "--version"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("footseg/export is no link to ../export: ")


def test_an_old_python_is_told(site):
    install_footseg(site, python=">=3.99")
    finding = found("python")
    assert (finding.status, finding.required) == ("old", True)
    assert "3.99 or later" in finding.detail


@pytest.mark.parametrize(
    ("version", "status", "said"),
    [
        ("3.11.7", "ok", "3.11 to 3.13"),
        ("3.13.0", "ok", "3.11 to 3.13"),
        ("3.14.1", "warning", "Python 3.14;"),
    ],
)
def test_a_python_that_tensorflow_has_no_wheels_for(site, monkeypatch, version, status, said):
    install_footseg(site)
    monkeypatch.setattr(doctor.platform, "python_version_tuple", lambda: tuple(version.split(".")))
    finding = found("extras")
    assert (finding.status, finding.required) == (status, False)
    assert said in finding.detail
    assert ("Python 3.13" in finding.fix) == (status == "warning")


def test_running_from_a_folder_says_how_to_install():
    code = (
        "import sys, importlib.metadata; sys.path.insert(0, sys.argv[1]);"
        "importlib.metadata.MetadataPathFinder.find_distributions = classmethod(lambda *a, **k: iter([]));"
        "from footseg import doctor;"
        "print(*[f'{f.name}|{f.status}|{f.fix}' for f in doctor.diagnose()], sep='\\n')"
    )
    lines = subprocess.check_output([sys.executable, "-c", code, str(ROOT)], text=True).splitlines()
    assert "footseg|warning|in that folder: python -m pip install -e '.[all]'" in lines


@pytest.mark.parametrize(
    ("chosen", "status", "detail"),
    [
        ("quagga", "warning", "quagga (by KERAS_BACKEND) is none"),
        ("torch", "missing", "torch (by KERAS_BACKEND) is not installed"),
    ],
)
def test_the_chosen_backend(monkeypatch, chosen, status, detail):
    monkeypatch.setenv("KERAS_BACKEND", chosen)
    monkeypatch.setattr(sys, "path", [])  # nothing can be found, whatever this machine has
    monkeypatch.delitem(sys.modules, chosen, raising=False)
    finding = found("keras backend")
    assert (finding.status, finding.detail) == (status, detail)


def test_the_backend_in_kerass_own_settings(monkeypatch, tmp_path):
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "keras.json").write_text('{"backend": "quagga"}')
    assert found("keras backend").detail == f"quagga (by {tmp_path / 'keras.json'}) is none"
    (tmp_path / "keras.json").write_text("{")
    assert found("keras backend").detail.endswith("is not valid JSON")
    (tmp_path / "keras.json").unlink()
    assert found("keras backend").detail.startswith("tensorflow (by the default)")


def test_tools_are_looked_for_on_the_path(monkeypatch, tmp_path):
    """As the command shows them: they are the Android harness's to know."""
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "qemu-aarch64").write_text("#!/bin/sh\n")
    (tmp_path / "qemu-aarch64").chmod(0o755)
    args = parser(COMMANDS).parse_args(["doctor", "--json"])
    tools = {finding["name"]: finding for finding in args.work(args).document}
    assert tools["adb"] == {
        "name": "adb",
        "status": "missing",
        "detail": "optional: reaches Android phones",
        "fix": "make arm, or apt-get install adb",
        "required": False,
    }
    assert tools["qemu-aarch64"]["status"] == "ok"
    assert tools["qemu-aarch64"]["detail"] == str(tmp_path / "qemu-aarch64")
    packages = Path(doctor.__file__).parents[1] / "android_harness" / "packages.txt"
    named = {tool["fix"].split()[-1] for tool in tools.values() if tool["fix"].startswith("make arm")}
    assert named <= set(packages.read_text().split()), "make arm does not install what doctor asks for"


def test_little_disk_space_is_warned_of(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "DISK_GB", 10**9)  # more than any disk has free
    finding = {finding.name: finding for finding in doctor.diagnose(tmp_path)}[f"disk at {tmp_path}"]
    assert (finding.status, finding.fix) == ("warning", "free some space")


def test_quick_and_without_heavy_imports():
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from footseg import doctor; doctor.diagnose();"
        "print(sorted({'tensorflow', 'keras', 'jax', 'torch', 'onnx', 'onnxruntime', 'numpy', 'scipy'}"
        " & set(sys.modules)))"
    )
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow"}
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        output = subprocess.check_output([sys.executable, "-c", code, str(ROOT)], text=True, env=environment)
        seconds.append(time.perf_counter() - start)
        assert output.strip() == "[]"
    # 0.06 to 0.14 s on two busy cores; half a second is what a reader takes for "at once".
    assert min(seconds) < 0.5
