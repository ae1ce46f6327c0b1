"""What is left of commands that are killed or told to end at any moment, and of two that share a folder.

    python -m benchmarks.experiments.endings kills pairs ctrl-c --work DIR [--only NAME ...]

``kills`` starts each of ``endings_stage.COMMANDS`` in a folder of its own, on a network and images so small
that each takes seconds, and ends it at a seeded moment by SIGKILL (100 in all) or SIGTERM (40). Then it looks
for processes that are alive 5 s later, reads every file that has its name, runs the command again and looks
for what is left over. ``pairs`` starts two commands on one folder, at seeded moments; the end must be that of
one after the other, or the second is refused. ``ctrl-c`` interrupts commands in the first 3 s of their life,
at a terminal and by ``kill -INT``. All are seeded and go on where they were stopped: what was tried is not
tried again. What fails is listed by what was wrong; the figures are in results/endings.json.
"""

import argparse
import dataclasses
import json
import random
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from footseg import files, provenance
from footseg.benchmarks.experiments import endings_ctrl_c, endings_pairs, endings_stage
from footseg.benchmarks.experiments.endings_process import GONE, PATIENCE, Started, same_files, unreadable
from footseg.benchmarks.experiments.endings_stage import COMMANDS, LongCommand, Stage

RESULTS = Path(__file__).resolve().parents[1] / "results" / "endings.json"
# Ends of a command that was told to: it says so, had not begun, or was done.
TOLD, NOT_BEGUN, DONE = 130, -signal.SIGTERM, 0


def main() -> None:
    """Run one of the attacks and write what it gave beside those of the others."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("attacks", nargs="+", choices=ATTACKS)
    parser.add_argument("--work", type=Path, required=True, help="folder for everything, kept for going on")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="only these commands or pairs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS, help="default: %(default)s")
    args = parser.parse_args()
    stage = endings_stage.prepare(args.work.resolve())
    for attack in args.attacks:
        found = ATTACKS[attack](stage, set(args.only), args.seed)
        if not args.only:
            before = files.read_json(args.out) if args.out.is_file() else {}
            machine = {"machine": provenance.machine(), "seed": args.seed}
            files.write_json(args.out, before | {attack: machine | found})
        print(json.dumps(found, indent=1))  # noqa: T201


# ---- killed and told to end


@dataclass(frozen=True)
class Trial:
    """One command, ended once: ``wrong`` is what should not be, in words; none is good."""

    command: str
    signal: str
    after_s: float
    exit_code: int
    wrong: tuple[str, ...]


def kills(stage: Stage, only: set[str], seed: int) -> dict[str, Any]:
    """End every command by both signals as often as its row says."""
    chosen = [command for command in COMMANDS if not only or command.name in only]
    # A first trial of every command before the second of any: what is wrong shows early.
    rounds = range(max(command.kills + command.terms for command in chosen))
    trials = [
        _trial(stage, command, _usual(stage, command), *command.ends[number], seed)
        for number in rounds
        for command in chosen
        if number < len(command.ends)
    ]
    return {
        **{name: _counts([t for t in trials if t.signal == name]) for name in ("SIGKILL", "SIGTERM")},
        "commands": {
            command.name: len([t for t in trials if t.command == command.name]) for command in COMMANDS
        },
        "wrong": [dataclasses.asdict(trial) for trial in trials if trial.wrong],
    }


def _counts(trials: Sequence[Trial]) -> dict[str, Any]:
    codes = Counter(str(trial.exit_code) for trial in trials)
    return {
        "sent": len(trials),
        "wrong": sum(bool(trial.wrong) for trial in trials),
        "exit_codes": dict(sorted(codes.items())),
    }


@dataclass(frozen=True)
class Usual:
    """How a command goes when nobody disturbs it: its seconds, exit code, and what must come out again."""

    seconds: float
    code: int
    result: Any


def _usual(stage: Stage, command: LongCommand) -> Usual:
    kept = stage.records / f"{command.name}.json"
    if kept.is_file():
        return Usual(**files.read_json(kept))
    folder = stage.fresh(command.name)
    started = Started(folder, command.words)
    code = started.ended(PATIENCE)
    if code != command.code:
        raise SystemExit(f"{command.name} ends with exit code {code} by itself:\n{started.said()}")
    usual = Usual(started.seconds, code, _plain(command.result(folder)))
    files.write_json(kept, dataclasses.asdict(usual))
    shutil.rmtree(folder)
    return usual


def _trial(stage: Stage, command: LongCommand, usual: Usual, name: str, number: int, seed: int) -> Trial:
    kept = stage.records / f"{command.name}_{name}_{seed}_{number}.json"
    if kept.is_file():
        read = files.read_json(kept)
        return Trial(**{**read, "wrong": tuple(read["wrong"])})
    rng = random.Random(f"{command.name} {name} {(seed, number)}")
    after = rng.uniform(0.02, 1) * usual.seconds
    folder = stage.fresh(command.name)
    before = same_files(folder)
    started = Started(folder, command.words)
    code = started.ended_by(getattr(signal, name), after, GONE)
    wrong = [f"alive after {GONE:g} s: {who}" for who in started.orphans(GONE)]
    if name == "SIGTERM":
        wrong += _badly_told(code, started.said())
    wrong += _lost(command, folder, before)
    again = Started(folder, command.again(folder))
    if (ended := again.ended(PATIENCE)) != usual.code:
        wrong.append(f"the next command ended with exit code {ended}: {again.said()[-300:]}")
    wrong += [f"left over: {path}" for path in again.leftovers()]
    if not wrong and (got := _plain(command.result(folder))) != usual.result:
        wrong.append(f"another result: {str(got)[:200]}, not {str(usual.result)[:200]}")
    trial = Trial(command.name, name, round(after, 2), code, tuple(wrong))
    files.write_json(kept, dataclasses.asdict(trial))
    print(f"{command.name} {name} after {after:.1f} s: {'; '.join(wrong) or 'good'}", flush=True)  # noqa: T201
    if not wrong:
        shutil.rmtree(folder)
    return trial


def _badly_told(code: int, said: str) -> list[str]:
    """What is wrong with how a command ended on SIGTERM."""
    wrong = []
    if code not in (TOLD, NOT_BEGUN, DONE):
        wrong.append(f"SIGTERM gave exit code {code}: {said[-300:]}")
    if code == TOLD and "footseg: " not in (said.strip().splitlines() or [""])[-1]:
        wrong.append(f"SIGTERM without a clear line: {said[-300:]}")
    if "Traceback" in said or "Exception ignored" in said:
        wrong.append(f"SIGTERM with a traceback: {said[-1000:]}")
    return wrong


def _lost(command: LongCommand, folder: Path, before: dict[str, str]) -> list[str]:
    """What ending a command has cost: files half written, or touched that were none of its own."""
    wrong = [f"half written: {path}" for path in unreadable(folder)]
    now = same_files(folder)
    for name, digest in before.items():
        if not name.startswith(command.writes) and now.get(name) != digest:
            wrong.append(f"lost or changed: {name}")
    return wrong


def _plain(value: Any) -> Any:
    """As JSON gives it back."""
    return json.loads(json.dumps(value))


ATTACKS: Mapping[str, Callable[[Stage, set[str], int], dict[str, Any]]] = {
    "kills": kills,
    "pairs": endings_pairs.pairs,
    "ctrl-c": endings_ctrl_c.interrupts,
}


if __name__ == "__main__":
    main()
