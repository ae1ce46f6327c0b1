"""The command line: all commands, in the order in which people come to use them."""

import sys
from collections.abc import Sequence

from footseg.commands import (
    adopting,
    compressing,
    costing,
    data,
    describing,
    first,
    golden,
    measuring,
    reproducing,
    searching,
    shipping,
    studying,
    training,
    verifying,
)
from footseg.commands._command import Command, parser, run
from footseg.quiet import open_closed_streams

__all__ = ["COMMANDS", "main", "parser"]

COMMANDS: tuple[Command, ...] = (
    *first.COMMANDS,
    *data.COMMANDS,
    *training.COMMANDS,
    *adopting.COMMANDS,
    *shipping.COMMANDS,
    *verifying.COMMANDS,
    *describing.COMMANDS,
    *golden.COMMANDS,
    *measuring.COMMANDS,
    *costing.COMMANDS,
    *compressing.COMMANDS,
    *searching.COMMANDS,
    *studying.COMMANDS,
    *reproducing.COMMANDS,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns 0 done, 1 a clear error, 2 wrong usage, 130 interrupted."""
    open_closed_streams()
    return run(sys.argv[1:] if argv is None else argv, COMMANDS)
