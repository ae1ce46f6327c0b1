"""The documents, held true: commands exist, links lead somewhere, figures are those of the tests."""

import argparse
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from footseg import cli, networks
from footseg.cli import COMMANDS, parser

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = ("README.md", "ARCHITECTURE.md")


def commands(document: str) -> Iterator[str]:
    """Each command line of a document: lines of shell blocks, and inline code that starts as one."""
    text = (ROOT / document).read_text()
    blocks = re.findall(r"```(\w*)\n(.*?)```", text, re.DOTALL)
    for kind, block in blocks:
        if kind in ("sh", "console"):
            for line in block.replace("\\\n", " ").splitlines():
                stripped = line.removeprefix("$ ") if kind == "console" else line
                if kind == "sh" or line.startswith("$ "):
                    yield stripped.split("  #")[0].strip()
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    yield from (code for code in re.findall(r"`((?:footseg|make) [^`]+)`", prose))


def flags(command: cli.Command) -> set[str]:
    """The flags that a command has, and the common ones."""
    sub = argparse.ArgumentParser()
    command.add_arguments(sub)
    return {flag for action in sub._actions for flag in action.option_strings} | {"--json", "--debug"}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_there_are_commands_to_test(document: str) -> None:
    assert sum(command.startswith("footseg ") for command in commands(document)) >= 3


@pytest.mark.parametrize(
    ("document", "command"), [(d, c) for d in DOCUMENTS for c in commands(d) if c.startswith("footseg ")]
)
def test_each_command_is_accepted(document: str, command: str) -> None:
    words = shlex.split(command)[1:]
    named = next((c for c in cli.COMMANDS if words[: len(c.words)] == list(c.words)), None)
    if named and set(words[len(named.words) :]) <= flags(named):
        return  # a command or its flag, named in a sentence without values
    try:
        parser(COMMANDS).parse_args(words)
    except SystemExit as ended:
        assert ended.code == 0, f"{document}: {command}"


@pytest.mark.parametrize(
    ("document", "command"), [(d, c) for d in DOCUMENTS for c in commands(d) if c.startswith("make ")]
)
def test_each_make_target_exists(document: str, command: str) -> None:
    target = shlex.split(command)[1]
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), f"{document}: {command}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_each_link_leads_somewhere(document: str) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / document).read_text())
    missing = [link for link in links if "://" not in link and not (ROOT / link).exists()]
    assert not missing


@pytest.mark.parametrize("name", networks.names())
def test_the_table_of_networks_has_the_reference_figures(name: str) -> None:
    row = next(
        line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith(f"| `{name}`")
    )
    assert f"{networks.reference(name)['parameters']:,}" in row


def test_every_command_is_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text()
    missing = [" ".join(c.words) for c in cli.COMMANDS if f"footseg {' '.join(c.words)}" not in text]
    assert not missing


@pytest.mark.parametrize("place", ["footseg", "export", "benchmarks", "android_harness", "tests"])
def test_architecture_names_every_folder(place: str) -> None:
    assert f"`{place}/" in (ROOT / "ARCHITECTURE.md").read_text()


def test_nothing_names_this_machine() -> None:
    """A path of the machine that something was made on is of no use to its reader."""
    checked = [
        path
        for pattern in ("*.md", "*.txt", "*.toml", "Makefile", "benchmarks/results/*", "**/*.py", ".ci/run")
        for path in ROOT.glob(pattern)
        if path.is_file() and ".venv" not in path.parts and path.suffix not in (".jpg", ".png")
    ]
    home = "/" + "work/"  # in two pieces, so that this file passes its own test
    assert not [path.name for path in checked if home in path.read_text()]
