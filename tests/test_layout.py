"""The layout of the project, held true: imports point one way, and light stays light."""

import ast
import glob
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# The floors, from the bottom: what stands on one may import its own floor and those that it names.
FLOORS = {
    "android_harness": set(),
    "core": set(),
    "export": {"core"},
    "benchmarks": {"core", "android_harness"},
    "roof": {"core", "export", "benchmarks", "android_harness"},
}
LINKED = ("export", "benchmarks", "android_harness")
ROOF = (
    "cli",
    "__main__",
    "commands",
    "search",
    "study",
    "demo",
    "reproduce",
    "steps",
    "benchmarks.experiments",
)
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


def modules() -> dict[str, Path]:
    """Every module by its name, found where it is installed from: through the links in footseg/."""
    found = {}
    for path in sorted(glob.iglob(f"{ROOT}/footseg/**/*.py", recursive=True)):  # noqa: PTH207 - rglob follows no links
        name = Path(path).relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
        found[name.removesuffix(".__init__")] = Path(path)
    return found


MODULES = modules()


def floor(module: str) -> str:
    """The floor that a module of footseg stands on."""
    inner = module.removeprefix("footseg.")
    if any(inner == part or inner.startswith(f"{part}.") for part in ROOF):
        return "roof"
    first = inner.split(".")[0]
    return first if first in LINKED else "core"


def names(path: Path) -> Iterator[str]:
    """Each module or name that a file imports, anywhere in it, with dots."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the direction"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported(module: str) -> set[str]:
    """The modules of footseg that a module imports, in its functions, too."""
    found = set()
    for name in names(MODULES[module]):
        if name.split(".")[0] == "footseg":
            owner = name if name in MODULES else name.rpartition(".")[0]
            assert owner in MODULES, f"{module} imports {name}, which is not there"
            found.add(owner)
    return found - {module}


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_downwards(module: str) -> None:
    here = floor(module)
    above = {name for name in imported(module) if floor(name) not in FLOORS[here] | {here}}
    assert not above


def test_no_module_imports_itself_in_the_end() -> None:
    graph = {module: sorted(imported(module)) for module in MODULES}
    circle: list[str] = []
    try:
        tuple(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        circle = error.args[1]
    assert not circle


def test_nothing_is_imported_by_a_string() -> None:
    """What is found by name: a network among the networks, an extra's package, what make fuzz preloads."""
    by_name = {module for module, path in MODULES.items() if "import_module(" in path.read_text()}
    fuzz = "footseg.benchmarks.experiments.fuzz.trial"
    assert by_name == {"footseg.networks", "footseg.errors", fuzz}


def test_one_name_is_installed() -> None:
    assert {name for name in LINKED if (ROOT / "footseg" / name).is_symlink()} == set(LINKED)
    wrong = [
        f"{module}: {name}"
        for module, path in MODULES.items()
        for name in names(path)
        if name.split(".")[0] in LINKED
    ]
    assert not wrong


def test_android_harness_needs_the_standard_library_only() -> None:
    harness = [path for module, path in MODULES.items() if floor(module) == "android_harness"]
    used = {name.split(".")[0] for path in harness for name in names(path)}
    assert used <= set(sys.stdlib_module_names) | {"footseg"}


def test_measuring_needs_nothing_of_training() -> None:
    """The base install has neither Keras nor TensorFlow, and measures."""
    training = ("footseg.training", "footseg.networks", "footseg.compress.")
    used = {n for m in MODULES if floor(m) == "benchmarks" for n in imported(m) if n.startswith(training)}
    assert used <= {"footseg.compress.sizes"}


@pytest.mark.parametrize(
    "module",
    [
        "footseg.cli", "footseg.artifact", "footseg.run", "footseg.runtime", "footseg.evaluate",
        "footseg.predict", "footseg.doctor", "footseg.networks", "footseg.data.check", "footseg.data.shapes",
        "footseg.benchmarks.host", "footseg.benchmarks.pages.report", "footseg.benchmarks.cost",
        "footseg.benchmarks.agreement", "footseg.benchmarks.arm", "footseg.benchmarks.android",
        "footseg.benchmarks.bench", "footseg.benchmarks.gate", "footseg.benchmarks.table",
        "footseg.benchmarks.cost.table", "footseg.compress.sizes", "footseg.study.study",
        "footseg.search.page", "footseg.search.costs",
    ],
)  # fmt: skip
def test_light_modules_import_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(*sorted(set(sys.modules) & set({HEAVY!r})))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_every_public_function_says_what_it_does() -> None:
    silent = [
        f"{module}:{node.name}"
        for module, path in MODULES.items()
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert not silent
