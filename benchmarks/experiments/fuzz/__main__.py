"""Damaged files of every kind that footseg reads, given to its commands: none may crash, hang or trace back.

    python -m benchmarks.experiments.fuzz --work DIR [--seed 1] [--count 10000] [--jobs 2]
    python -m benchmarks.experiments.fuzz --work DIR --seed 1 --repeat 4711

Whole files are made in DIR by footseg's own commands; mutant NUMBER of a seed is the same whenever it is
asked for. DIR/SEED.jsonl has a line for each that was tried: a run that was stopped goes on. ``--repeat``
tries one again and prints what it said. A finding is a traceback, a warning of Python's, a signal, an exit
code that is not documented, an exit code of 1 without a word, 60 s, 4 GB, or a page or record that no longer
reads; findings end it with 1.
The figures are in results/fuzz.json.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from footseg import files, provenance
from footseg.benchmarks.experiments.fuzz import cases, corpus, trial
from footseg.grouping import grouped

RESULTS = Path(__file__).resolve().parents[2] / "results" / "fuzz.json"


def main() -> None:
    """Try what was not tried yet, and write what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder of the whole files and the book")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=10_000, help="mutants (10000)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="at a time (one a core)")
    parser.add_argument("--only", nargs="+", metavar="KIND", help="kinds of files, as cases.py names them")
    parser.add_argument("--light", action="store_true", help="load no package that trains beforehand")
    parser.add_argument("--repeat", type=int, metavar="NUMBER", help="try one mutant again")
    parser.add_argument("--out", type=Path, default=RESULTS, help="default: %(default)s")
    args = parser.parse_args()
    whole = args.work.resolve() / "whole"
    chosen = tuple(case for case in cases.CASES if not args.only or case.name in args.only)
    places = (place for case in chosen for place in (*case.files, *case.needed))
    corpus.make(whole, {place.partition("/")[0] for place in places} if args.only else None)
    trial.prepare(light=args.light)
    if args.repeat is not None:
        mutant = cases.mutant(whole, args.seed, args.repeat, chosen)
        for _, ended in tried(iter([(args.repeat, mutant)]), whole, 1):
            print(f"{mutant.file}: {mutant.how}\nfootseg {mutant.said}\n{ended}\n{ended.said}")  # noqa: T201
        return
    book = args.work / f"{args.seed}{'-only' if args.only else ''}.jsonl"
    done = {entry["number"]: entry for entry in _read(book)}
    left = ((n, cases.mutant(whole, args.seed, n, chosen)) for n in range(args.count) if n not in done)
    with book.open("a", encoding="utf-8") as file:
        for entry in _entries(left, whole, args.jobs):
            done[entry["number"]] = entry
            file.write(json.dumps(entry) + "\n")
            file.flush()
            if entry["finding"]:
                print(f"{entry['number']} {entry['kind']}: {entry['finding']}", flush=True)  # noqa: T201
    found = summary(args.seed, [entry for entry in done.values() if entry["number"] < args.count])
    if not args.only:
        files.write_json(args.out, found)
    print(json.dumps({key: found[key] for key in ("mutants", "findings")}, indent=1))  # noqa: T201
    sys.exit(1 if found["findings"] else 0)


def tried(
    mutants: Iterator[tuple[int, cases.Mutant]], whole: Path, jobs: int
) -> Iterator[tuple[tuple[int, cases.Mutant], trial.Ended]]:
    """Each mutant with how it ended, ``jobs`` at a time."""
    running: list[tuple[tuple[int, cases.Mutant], trial.Running]] = []
    try:
        while True:
            while len(running) < jobs and (following := next(mutants, None)):
                running.append((following, trial.start(following[1], whole)))
            if not running:
                return
            ended = [(pair, trial.poll(pair[1])) for pair in running]
            running = [pair for pair, end in ended if end is None]
            for (mutant, _), end in ended:
                if end is not None:
                    yield mutant, end
            time.sleep(0.01)
    finally:
        for _, left in running:
            trial.end(left)


def _entries(mutants: Iterator[tuple[int, cases.Mutant]], whole: Path, jobs: int) -> Iterator[dict[str, Any]]:
    """The lines of the book."""
    for (number, mutant), ended in tried(mutants, whole, jobs):
        entry = {
            "number": number, "kind": mutant.case.name, "file": mutant.file, "how": mutant.how,
            "command": mutant.said, "code": ended.code, "seconds": ended.seconds,
            "megabytes": round(ended.bytes / 1e6), "finding": ended.finding,
        }  # fmt: skip
        yield entry | ({"said": ended.said} if ended.finding else {})


def _read(book: Path) -> list[dict[str, Any]]:
    """The lines of the book but the last where a kill cut it short."""
    lines = book.read_text(encoding="utf-8").splitlines() if book.is_file() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def summary(seed: int, entries: list[dict[str, Any]]) -> dict[str, Any]:
    """The figures: how many mutants of each kind ended how, and every finding."""
    kinds = grouped((entry["kind"], entry) for entry in entries)
    return {
        "what": "commands on damaged files, each in a process of its own",
        "created": provenance.now(),
        "machine": provenance.machine(),
        "versions": provenance.versions(),
        "commit": _commit(),
        "seed": seed,
        "mutants": len(entries),
        "exit_codes": _counts(entries, "code"),
        "slowest_seconds": max((entry["seconds"] for entry in entries), default=0),
        "largest_megabytes": max((entry["megabytes"] for entry in entries), default=0),
        "findings": _counts([entry for entry in entries if entry["finding"]], "finding"),
        "kinds": {
            name: {
                "mutants": len(found),
                "exit_codes": _counts(found, "code"),
                "findings": sum(bool(entry["finding"]) for entry in found),
            }
            for name, found in sorted(kinds.items())
        },
        "found": [entry for entry in sorted(entries, key=lambda e: e["number"]) if entry["finding"]],
    }  # fmt: skip


def _commit() -> str:
    """The commit that is checked out, "" where git does not tell."""
    words = ["git", "-C", str(RESULTS.parent), "rev-parse", "--short", "HEAD"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _counts(entries: list[dict[str, Any]], field: str) -> dict[str, int]:
    return {str(value): count for value, count in sorted(Counter(e[field] for e in entries).items())}


if __name__ == "__main__":
    main()
