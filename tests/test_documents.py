"""The documents, held true: commands and options exist, links lead somewhere, figures are the tests'."""

import argparse
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from footseg import cli, files, networks
from footseg.cli import COMMANDS, parser
from footseg.data.labels import KEYS, read_labels
from footseg.doctor import NEEDED_FOR
from footseg.search import space_file
from footseg.terminal import with_interval
from footseg.training.config import from_values

ROOT = Path(__file__).resolve().parents[1]
PAGES = tuple(sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))
DOCUMENTS = ("README.md", "ARCHITECTURE.md", *PAGES)
PACKAGES = ("footseg", "export", "benchmarks", "android_harness")
PROGRAMS = ("footseg ", "make ", "pip ", "python -m ")


def read(document: str) -> str:
    return (ROOT / document).read_text()


def blocks(document: str, *kinds: str) -> Iterator[tuple[str, str]]:
    """The fenced blocks of these kinds: the kind and what is in it."""
    for kind, block in re.findall(r"```(\w*)\n(.*?)```", read(document), re.DOTALL):
        if kind in kinds:
            yield kind, block


def prose(document: str) -> str:
    """A document without its fenced blocks."""
    return re.sub(r"```.*?```", "", read(document), flags=re.DOTALL)


def commands(document: str) -> Iterator[str]:
    """Each command line of a document: lines of shell blocks, and inline code that starts as one."""
    for kind, block in blocks(document, "sh", "console"):
        for line in block.replace("\\\n", " ").splitlines():
            stripped = line.removeprefix("$ ") if kind == "console" else line
            if kind == "sh" or line.startswith("$ "):
                yield re.sub(r"^([A-Z_]+=\S+ )+", "", stripped).split("  #")[0].strip()
    for code in re.findall(r"`([^`]+)`", prose(document)):
        if code.startswith(PROGRAMS):
            yield " ".join(code.split())


def every(program: str) -> list[tuple[str, str]]:
    """Each command of a program, with the document that it stands in."""
    return [(d, command) for d in DOCUMENTS for command in commands(d) if command.startswith(program)]


def anchors(document: str) -> set[str]:
    """The names that headings can be linked by, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def flags(command: cli.Command) -> set[str]:
    """The flags that a command has, and the common ones."""
    sub = argparse.ArgumentParser()
    command.add_arguments(sub)
    return {flag for action in sub._actions for flag in action.option_strings} | {"--json", "--debug"}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_there_are_commands_to_test(document: str) -> None:
    least = 1 if document in PAGES else 3
    assert sum(command.startswith("footseg ") for command in commands(document)) >= least


def test_every_line_of_a_shell_is_a_command_that_is_tested() -> None:
    lines = [(d, command) for d in DOCUMENTS for command in commands(d) if command]
    assert len(lines) > 80
    assert not [(d, command) for d, command in lines if not command.startswith(PROGRAMS)]


@pytest.mark.parametrize(("document", "command"), every("footseg "))
def test_each_command_is_accepted(document: str, command: str) -> None:
    words = shlex.split(command)[1:]
    named = next((c for c in cli.COMMANDS if words[: len(c.words)] == list(c.words)), None)
    if named and set(words[len(named.words) :]) <= flags(named):
        return  # a command or its flag, named in a sentence without values
    try:
        parser(COMMANDS).parse_args(words)
    except SystemExit as ended:
        assert ended.code == 0, f"{document}: {command}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_each_flag_in_a_sentence_is_one_of_a_command(document: str) -> None:
    known = {flag for command in COMMANDS for flag in flags(command)} | {"--help"}
    said = [code for code in re.findall(r"`([^`]+)`", prose(document)) if code.startswith("--")]
    named = {word.split("=")[0] for code in said for word in code.split() if word.startswith("--")}
    assert not named - known


@pytest.mark.parametrize(("document", "command"), every("make "))
def test_each_make_target_exists(document: str, command: str) -> None:
    target = shlex.split(command)[1]
    assert re.search(rf"^{target}:", read("Makefile"), re.MULTILINE), f"{document}: {command}"


@pytest.mark.parametrize(("document", "command"), every("python -m "))
def test_each_module_exists(document: str, command: str) -> None:
    module = shlex.split(command)[2]
    assert (ROOT / f"{module.replace('.', '/')}.py").is_file(), f"{document}: {command}"


@pytest.mark.parametrize(("document", "command"), every("pip "))
def test_footseg_is_installed_from_this_folder(document: str, command: str) -> None:
    """No index has it, and each extra exists."""
    words = shlex.split(command)
    if words[1] == "install" and words[-1] != "tensorboard":
        source, _, extra = words[-1].rstrip("]").partition("[")
        assert source == ".", f"{document}: {command}"
        assert extra in {*NEEDED_FOR, "all"}, f"{document}: {command}"


def test_nothing_says_that_an_index_has_footseg() -> None:
    sources = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("tests/*.py")]
    sources += [path for place in PACKAGES for path in (ROOT / place).rglob("*.py")]
    assert len(sources) > 200
    wrong = re.compile(r"pip install (-\S+ )*['\"]?footseg(?!\.)")
    allowed = {ROOT / "footseg" / "installation.py", Path(__file__).resolve()}  # which say why not
    assert not [path for path in sources if path not in allowed and wrong.search(path.read_text())]


@pytest.mark.parametrize(
    ("document", "block"), [(d, block) for d in DOCUMENTS for _, block in blocks(d, "toml")]
)
def test_each_configuration_is_read(document: str, block: str, tmp_path: Path) -> None:
    values = tomllib.loads(block)
    if document == "docs/data.md":
        (tmp_path / "dataset.toml").write_text(block)
        labels = read_labels(tmp_path / "dataset.toml")
        assert set(values) == set(KEYS)
        assert labels.classes == ("background", "left shoe", "right shoe")
    elif document == "docs/search.md":
        assert space_file.parse(values, {"network": "fast_linknet"}).parameters
    else:
        assert from_values(values) != from_values({})


@pytest.mark.parametrize("document", DOCUMENTS)
def test_each_link_leads_somewhere(document: str) -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", prose(document)) if "://" not in link]
    missing = []
    for link in links:
        path, _, anchor = link.partition("#")
        target = (ROOT / document).parent / path if path else ROOT / document
        if not target.exists() or (anchor and anchor not in anchors(str(target.resolve().relative_to(ROOT)))):
            missing.append(link)
    assert not missing


def test_every_page_is_linked_from_the_readme() -> None:
    assert not [page for page in PAGES if f"]({page})" not in read("README.md")]


def test_the_readme_is_short() -> None:
    assert len(read("README.md").splitlines()) <= 180


def rows_of_networks() -> Iterator[tuple[str, dict[str, str], list[str]]]:
    """Each row of the README's table of networks: name, options, and the cells after them."""
    for line in read("README.md").splitlines():
        found = re.match(r"\| `(\w+)`(?: with `([^`]+)`)?[^|]*\| (.+)", line)
        if found and found[1] in networks.names():
            options = dict(option.split("=") for option in (found[2] or "").split())
            yield found[1], options, [cell.strip() for cell in found[3].split("|")]


def test_every_network_is_in_the_table() -> None:
    assert {name for name, options, _ in rows_of_networks() if not options} == set(networks.names())


@pytest.mark.parametrize(("name", "options", "cells"), list(rows_of_networks()))
def test_the_table_of_networks_has_the_reference_figures(
    name: str, options: dict[str, str], cells: list[str]
) -> None:
    (reference,) = (
        figures
        for figures in networks.variants(name).values()
        if {option: str(value) for option, value in figures["options"].items()} == options
    )
    parameters, megabytes, macs, flops, counted_by_tensorflow = cells[:5]
    assert parameters == f"{reference['parameters']:,}"
    assert megabytes == f"{reference['parameters'] * 4 / 1e6:.2f}"
    # References and cells are rounded to three digits or more.
    for cell, key in ((macs, "macs"), (counted_by_tensorflow, "flops_tf_benchmark")):
        if key in reference:
            assert float(cell.removesuffix(" G")) * 1e9 == pytest.approx(reference[key], rel=5e-3)
    # Twice the MACs, each rounded to a thousandth.
    assert float(flops.removesuffix(" G")) == pytest.approx(2 * float(macs.removesuffix(" G")), abs=0.0015)


# The recipes of the README's results, by their names in benchmarks/results/compression/results.json.
RECIPES = {
    "static int8": "dense int8",
    "`--qat`, int8": "qat int8",
    "int4 weights": "dense int4w",
    "int16 activations, int8 weights": "dense int16x8",
    "dynamic int8": "dense dynamic",
    "`--prune 0.7`, fp32": "prune70 fp32",
    "`--prune 0.87 --cluster 16`, int8": "deep int8",
    "`--cut 0.55 --set multiple_of=16`, fp32": "cut fp32",
    "the same, int8": "cut int8",
}


def table(document: str, head: str) -> list[list[str]]:
    """The cells of the table that begins with ``head``, row by row."""
    _, _, after = read(document).partition(f"| {head} |")
    lines = after.partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_results_are_those_measured() -> None:
    files = json.loads(read("benchmarks/results/compression/results.json"))["files"]
    rows = table("README.md", "recipe")
    assert [row[0] for row in rows] == ["fp32", *RECIPES]
    for recipe, lost, *figures in rows[1:]:
        measured = files[RECIPES[recipe]]
        mean, worst = map(float, re.findall(r"-?[\d.]+", lost))
        loss = measured["iou_loss"]
        # Half of the last digit that is written.
        assert (mean, worst) == pytest.approx((loss["mean"], max(loss["values"])), abs=5.1e-4)
        for figure, name in zip(figures, ("file_mb", "gzip_mb", "latency_ratio"), strict=True):
            number = figure.partition(":")[0]
            half = 0.51 * 10.0 ** -len(number.partition(".")[2])
            assert float(number) == pytest.approx(measured[name]["mean"], abs=half), (recipe, name)


def test_a_ratio_is_the_same_wherever_it_stands() -> None:
    """What footseg bench prints in the README, and in its table the mean over three seeds."""
    (printed,) = re.findall(r"_int8\.tflite +(?:[\d.]+ +){5}([\d.]+) \[", read("README.md"))
    (listed,) = (row[4] for row in table("README.md", "recipe") if row[0] == "static int8")
    assert f"{float(printed):.2f}" == listed


def test_the_latency_of_converters_is_that_measured() -> None:
    files = json.loads(read("benchmarks/results/export_latency.json"))["files"]
    found = [files[name] for name in ("keras_litert", "onnxruntime")]
    wanted = [with_interval(file["ratio"], file["low"], file["high"]) for file in found]
    assert [row[1] for row in table("docs/figures.md", "the same network")] == wanted
    assert all(file["met"] for file in found)


def test_the_ingredients_of_training_are_those_measured() -> None:
    rows = json.loads(read("benchmarks/results/ablation.json"))["rows"]
    wanted = [
        [row["recipe"], f"{row['val_iou']['mean']:.3f} ± {row['val_iou']['deviation']:.3f}"] for row in rows
    ]
    assert table("docs/figures.md", "recipe") == wanted


def test_the_table_of_clients_is_what_was_measured() -> None:
    from footseg.benchmarks.experiments import clients

    record = json.loads(read("benchmarks/results/clients.json"))
    assert clients.tables(record) in read("docs/clients.md")


def test_every_command_is_in_the_readme() -> None:
    text = read("README.md")
    missing = [" ".join(c.words) for c in cli.COMMANDS if f"footseg {' '.join(c.words)}" not in text]
    assert not missing


@pytest.mark.parametrize("place", ["footseg", "export", "benchmarks", "android_harness", "tests"])
def test_architecture_names_every_folder(place: str) -> None:
    assert f"`{place}/" in read("ARCHITECTURE.md")


def test_architecture_names_files_that_are_there() -> None:
    there = {path.name for path in ROOT.glob("**/*.py") if ".venv" not in path.parts}
    assert not set(re.findall(r"`(?:[\w/]+/)?(\w+\.py)`", read("ARCHITECTURE.md"))) - there - {"NAME.py"}


def test_nothing_names_this_machine() -> None:
    """A path of the machine that something was made on is of no use to its reader."""
    checked = [
        path
        for pattern in (
            "*.md",
            "docs/*.md",
            "*.txt",
            "*.toml",
            "Makefile",
            "benchmarks/results/*",
            "**/*.py",
            ".ci/run",
        )
        for path in ROOT.glob(pattern)
        if path.is_file() and ".venv" not in path.parts and path.suffix not in (".jpg", ".png")
    ]
    home = "/" + "work/"  # in two pieces, so that this file passes its own test
    assert not [path.name for path in checked if home in path.read_text()]


def test_the_cost_of_a_check_is_the_measured_one() -> None:
    found = files.read_json(ROOT / "benchmarks" / "results" / "data_check.json")
    assert f"takes {found['ratio']:.2f} times" in read("docs/data.md")
    assert f"({found['photographs']} generated photographs" in read("docs/data.md")
    assert found["met"] == (found["ratio"] <= 1.2)
