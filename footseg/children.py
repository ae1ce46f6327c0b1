"""Processes of footseg's own: they run the same footseg, and nothing of the folder they start in."""

import os
import sys
from pathlib import Path


def command(module: str) -> list[str]:
    """The words that run a module of footseg; its arguments follow.

    ``python -m`` alone puts the current folder first on the path: a ``json.py`` or a ``benchmarks/`` of the
    user's would be run.
    """
    return [sys.executable, "-P", "-m", module]


def environment() -> dict[str, str]:
    """This process's own, with the footseg that runs here found before any other, in its children, too."""
    root = str(Path(__file__).resolve().parents[1])
    python_path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": python_path, "PYTHONSAFEPATH": "1"}
