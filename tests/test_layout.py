"""The layout of the project, held true: imports point one way, and light stays light."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("footseg", "export", "benchmarks", "android_harness")
# What each package may import of the others.
ALLOWED = {
    "footseg": set(),
    "export": {"footseg"},
    "benchmarks": {"footseg", "android_harness"},
    "android_harness": set(),
}
# Of footseg, benchmarks may use only what needs no training stack.
LIGHT = {
    "__version__",
    "artifact",
    "compress.sizes",
    "run",
    "steps",
    "study",
    "errors",
    "files",
    "provenance",
    "runtime",
    "quiet",
    "data",
    "data.folder",
    "data.images",
    "evaluate",
    "search",
    "search.goals",
    "search.records",
    "search.space",
    "search.tables",
}
# It trains hundreds of small networks: a process for each would take longer than the training.
TRAINS = {"searches.py": {"config.from_values", "train.train"}}
HEAVY = (
    "tensorflow",
    "keras",
    "tf_keras",
    "jax",
    "torch",
    "onnx",
    "onnxruntime",
    "ai_edge_quantizer",
    "hyperopt",
)


def modules() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def imports(path: Path) -> Iterator[str]:
    """Each module or name that a file imports, anywhere in it, with dots."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the direction"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    used = {name.split(".")[0] for name in imports(path)} & set(PACKAGES) - {package}
    assert used <= ALLOWED[package]


@pytest.mark.parametrize(
    "path", sorted((ROOT / "benchmarks").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_benchmarks_use_only_what_is_light(path: Path) -> None:
    used = {name.removeprefix("footseg.") for name in imports(path) if name.startswith("footseg")}
    wrong = {name for name in used if name not in LIGHT and name.rsplit(".", 1)[0] not in LIGHT}
    assert wrong == TRAINS.get(path.name, set())


def test_android_harness_needs_the_standard_library_only() -> None:
    used = {
        n.split(".")[0] for path in sorted((ROOT / "android_harness").rglob("*.py")) for n in imports(path)
    }
    assert used <= set(sys.stdlib_module_names) | {"android_harness"}


@pytest.mark.parametrize(
    "module",
    [
        "footseg.cli", "footseg.artifact", "footseg.run", "footseg.runtime", "footseg.evaluate",
        "footseg.predict", "footseg.doctor", "footseg.networks", "footseg.data.check", "footseg.data.shapes",
        "benchmarks.host", "benchmarks.pages.report", "benchmarks.cost", "footseg.compress.sizes",
        "footseg.study", "benchmarks.agreement", "benchmarks.arm", "benchmarks.android", "benchmarks.bench",
        "benchmarks.gate", "benchmarks.table", "benchmarks.cost.table", "benchmarks.pages.search",
        "footseg.search.costs",
    ],
)  # fmt: skip
def test_light_modules_import_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(*sorted(set(sys.modules) & set({HEAVY!r})))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_every_package_is_installed() -> None:
    names = {package for package in PACKAGES if (ROOT / package / "__init__.py").is_file()}
    assert names == set(PACKAGES)
    assert set(ALLOWED) == set(PACKAGES)


def test_every_public_function_says_what_it_does() -> None:
    silent = [
        f"{path.relative_to(ROOT)}:{node.name}"
        for path in modules()
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert not silent
