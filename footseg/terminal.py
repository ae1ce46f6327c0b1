"""What is written to a terminal: aligned columns, lines that fit, names and ratios in few characters."""

import math
import sys
import textwrap
from collections.abc import Collection, Sequence

# What moves the cursor, rings or starts worse: all control characters but tab and newline.
CONTROLS = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n"}

# Columns of a terminal that a table of measurements may take.
WIDTH = 120


def printable(text: str) -> str:
    """``text`` with control characters, and bytes of names that are not UTF-8, written out as \\x1b.

    Names of files, classes and layers come from others, and a terminal obeys what it is sent.
    """
    return text.translate(CONTROLS).encode(errors="backslashreplace").decode()


def note(line: str) -> None:
    """Say something that ends no work, in a line on standard error."""
    print(printable(f"note: {line}"), file=sys.stderr, flush=True)  # noqa: T201


def aligned(heads: Sequence[str], rows: Sequence[Sequence[str]], left: Collection[int] = (0,)) -> str:
    """Columns as wide as their widest cell, those of ``left`` flush left; headings may have two lines."""
    tops = [head.rpartition("\n")[::2] for head in heads]
    lines = [row for row in ([top for top, _ in tops], [bottom for _, bottom in tops]) if any(row)]
    lines += [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            f"{cell:<{width}}" if i in left else f"{cell:>{width}}"
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """As ``aligned``, all but the first and the last column flush right."""
    return aligned(heads, rows, left=(0, len(heads) - 1))


def counted(number: int, word: str) -> str:
    """A number with what it counts: "1 epoch", "3 epochs"."""
    return f"{number} {word}" + ("" if number == 1 else "s")


def wrapped(text: str, width: int = WIDTH, indent: int = 2) -> str:
    """A sentence in lines of ``width`` columns at most, names left whole, all but the first indented."""
    return textwrap.fill(
        text, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False
    )


def shortened(name: str, most: int) -> str:
    """A name in ``most`` characters; a long one loses its middle, and more of its head than of its tail."""
    head = (most - 3) // 3
    return name if len(name) <= most else f"{name[:head]}...{name[-(most - 3 - head) :]}"


def with_interval(ratio: float | None, low: float | None, high: float | None) -> str:
    """A ratio as "0.51 [0.50, 0.52]", with a third decimal where two would hide the interval."""
    if ratio is None:
        return "-"
    if low is None or high is None:
        return f"{ratio:.3f}"
    if high - low < 5e-4:  # counts, which repeat
        return f"{ratio:.5g}"
    digits = 3 if high - low < 0.02 else 2
    return f"{ratio:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def percent(share: float | None) -> str:
    """A share of pixels in percent; what is less than all is not rounded up to it."""
    return "-" if share is None else f"{math.floor(share * 1e5) / 1e3:.3f}%"
