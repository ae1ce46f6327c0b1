"""``footseg reproduce thesis``: from photographs of feet to the thesis's two tables and two figures."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from footseg import files
from footseg.reproduce import claims, grid, results, settings, steps, tables
from footseg.steps import Command, Say, run_step, run_steps

TABLES = "tables"
FIGURES = (
    ("figure_4_1.jpg", "real", "Figure 4.1: real"),
    ("figure_4_2.jpg", "composited", "Figure 4.2: composited"),
)


def reproduce(
    out: Path,
    given: Mapping[str, Any],
    *,
    students: Sequence[str] = (),
    threads: int = 1,
    say: Say,
    command: Command = run_step,
) -> dict[str, Any]:
    """Do what is not done yet in the folder ``out``, then write ``out/tables``; returns ``results.json``.

    Args:
        given: fields of ``ReproductionSettings``; a folder that was begun needs none, and none may differ
            from its own.
        students: which of the students (default: all); more of them may be added to a folder later.
        threads: of the runtime whose latency is measured.
        command: runs one footseg command line and returns its exit code.

    Raises:
        ValueError: a setting is missing, wrong, or not the one that ``out`` was begun with.
        FootsegError: ``out`` holds something else, a step failed, Ctrl-C.
    """
    out = out.resolve()
    chosen = settings.resolve(out, given)
    made = steps.Reproduction(out, chosen, steps.rows(chosen, students))
    if not settings.begun(out):
        settings.save(out, chosen)
    before = steps.until_export(made)
    go_on = f"footseg reproduce thesis --out {shlex.quote(f'{out}')}"
    run_steps(before, out, command, say, go_on=go_on)
    after = steps.after_export(made, threads)  # which depends on what could be exported
    run_steps(after, out, command, say, go_on=go_on, first=len(before) + 1)
    return write(made)


def write(made: steps.Reproduction) -> dict[str, Any]:
    """Read what the steps left and write tables, text and figures; returns ``results.json``."""
    found, made_on = results.gather(made), results.made_on(made)
    # Ratios measured in turns, not medians minutes apart: claims about latency only compare.
    ours = {r.key: replace(r.figures, latency_ms=r.files["fp32"].get("ratio")) for r in found}
    titles = {row.key: row.title for row in steps.rows(made.settings)}
    judged = claims.judge(results.THESIS, ours, titles)
    sheets = {
        "table_4_1_computed": tables.computed(found),
        "table_4_1_measured": tables.measured(found, made_on),
        "table_4_2": tables.accuracy(found, made_on),
        "training": tables.training(found),
    }
    record = {
        "made_on": made_on,
        "thesis": {key: asdict(figures) for key, figures in results.THESIS.items()},
        "networks": [asdict(result) for result in found],
        "claims": [asdict(claim) for claim in judged],
    }
    folder = made.out / TABLES
    for name, table in sheets.items():
        files.write_text(folder / f"{name}.csv", table.to_csv())
    files.write_json(folder / "results.json", record)
    for name, what, title in FIGURES:
        columns = [grid.GridColumn(row.title, made.evaluation(row, what)) for row in made.rows]
        grid.write_grid(folder / name, title, columns)
    text = tables.document(list(sheets.values()), found, judged, made.settings, made_on)
    files.write_text(folder / "README.md", text)
    return record
