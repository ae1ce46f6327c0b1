"""Many facts of an Android device by one command: a round trip of adb takes about 20 ms, a fact under 5.

What comes back is read as a phone gives it: lines may end in CR LF, a shell may greet, a file may be denied.
Whatever is missing is simply not in the answer.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Protocol

from footseg.android_harness.adb import Result

# A line that begins the answer to a question; blank space and noise around it are passed over.
MARK = "@footseg-answer "
# A file as ``grep -H`` names it. Searched, not matched: a shell may have written something before it.
FILE_LINE = re.compile(r"(/(?:sys|proc)/[^:\s]*):(.*)")


class Shell(Protocol):
    """Anything that runs a command on a device: ``adb.Device`` does."""

    def shell(self, argv: Sequence[str], *, timeout: float, check: bool = True) -> Result: ...


def ask(device: Shell, questions: Mapping[str, str], *, timeout: float = 30.0) -> dict[str, tuple[str, ...]]:
    """What each command of ``questions`` wrote, as lines without their ends; () where it failed.

    Args:
        device: the commands run in its shell, one after another, and may fail.
        questions: a name (one word) for each shell command.
        timeout: seconds for all of them.

    Raises:
        HarnessError: of the device (it is gone, or slower than ``timeout``).
    """
    # A question may not read our input, nor end its answer without a line end, nor complain.
    script = "".join(
        f"echo; echo '{MARK}{name}'\n{{ {command}; }} </dev/null 2>/dev/null\n"
        for name, command in questions.items()
    )
    said = device.shell(["sh", "-c", script + "true"], timeout=timeout, check=False).stdout
    answers: dict[str, list[str]] = {name: [] for name in questions}
    lines: list[str] = []
    for line in said.splitlines():
        _, mark, name = line.partition(MARK)
        if mark:
            lines = answers.get(name.strip(), [])
        elif line.strip():
            lines.append(line)
    return {name: tuple(answer) for name, answer in answers.items()}


def contents(*patterns: str) -> str:
    """The question for what stands in files; ``files`` reads the answer. Patterns are the shell's."""
    return "grep -sH '' " + " ".join(patterns)


def files(lines: Sequence[str]) -> dict[str, str]:
    """The answer to ``contents``: the first line of each file that could be read, by its path."""
    found: dict[str, str] = {}
    for line in lines:
        if match := FILE_LINE.search(line):
            found.setdefault(match[1], match[2].strip())
    return found


def values(lines: Sequence[str]) -> dict[str, str]:
    """``key: value`` lines, the first of each key; keys in lower case."""
    found: dict[str, str] = {}
    for line in lines:
        key, colon, value = line.partition(":")
        if colon:
            found.setdefault(key.strip().lower(), value.strip())
    return found


def number(text: str | None) -> int | None:
    """A whole number, or None for anything else."""
    return int(text) if text and re.fullmatch(r"[+-]?\d+", text.strip()) else None


def cores(text: str | None) -> tuple[int, ...] | None:
    """Processor cores as Linux and people list them: "0-3,6" or "0 1 2"; None for anything else."""
    found: set[int] = set()
    for part in re.split(r"\s*,\s*|\s+", (text or "").strip()):
        match = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", part)
        if not match or int(match[2] or match[1]) < int(match[1]):
            return None
        found.update(range(int(match[1]), int(match[2] or match[1]) + 1))
    return tuple(sorted(found))


def listed(numbers: Sequence[int]) -> str:
    """Cores in few characters: "4-7", "0,2"."""
    runs: list[list[int]] = []
    for core in sorted(numbers):
        if runs and core == runs[-1][-1] + 1:
            runs[-1].append(core)
        else:
            runs.append([core])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
