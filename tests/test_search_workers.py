"""Workers of a search, and all the ways in which they, a trial or the search itself may come to an end."""

import fcntl
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from footseg.errors import FootsegError
from footseg.files import DiskFullError
from footseg.search import records, workers

ROOT = Path(__file__).resolve().parents[1]
# By number, what tests.search_jobs.behave does; other numbers just end.
KILLED, EXITED, TYPO, FULL, PICKY, SLEEPS, SLEEPS_TOO, STUBBORN, LATE, CHATTERS, GROWS, LEAVES = range(10, 22)
STARTS_ANOTHER, WAITS = 22, 23


@dataclass
class Search:
    """What a search sees of its workers."""

    folder: Path
    numbers: Iterator[int | None]
    on_tick: Callable[["Search"], None] = lambda search: None
    on_ended: Callable[[int], None] = lambda number: None
    ended: list[int] = field(default_factory=list)
    crashed: dict[int, str] = field(default_factory=dict)
    asked: list[int | None] = field(default_factory=list)
    ticks: int = 0

    def feed(self, until: float = math.inf) -> workers.Feed:
        tell = (self.has_ended, self.crashed.__setitem__, self.tick)
        return workers.Feed(self.folder, self.next_trial, *tell, until)

    def run(self, until: float = math.inf, **options: Any) -> None:
        options = {"count": 2, "function": "tests.search_jobs:behave", **options}
        with records.lock(self.folder) as lock:
            workers.run_local(self.feed(until), lock=lock, **options)

    def next_trial(self) -> int | None:
        self.asked.append(next(self.numbers, None))
        return self.asked[-1]

    def has_ended(self, number: int) -> None:
        self.ended.append(number)
        self.on_ended(number)

    def tick(self) -> None:
        self.ticks += 1
        self.on_tick(self)

    def began(self, *numbers: int) -> bool:
        """Whether these trials have a process."""
        return all(self.pid(number) for number in numbers)

    def pid(self, number: int) -> int:
        """Of the process that ran a trial; 0: none has begun it."""
        path = self.folder / f"{number}.txt"
        words = path.read_text().split() if path.exists() else []
        return int(words[0]) if len(words) == 2 else 0


@pytest.fixture
def search(tmp_path: Path) -> Callable[..., Search]:
    return lambda numbers, **options: Search(tmp_path, iter(numbers), **options)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # gone before or while it was read
        return False


def waited_for(condition: Callable[[], Any], seconds: float = 30) -> Any:
    """What ``condition`` gives once that is true; by default far more time than it takes."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.01)
    return found


# ---- work


def test_each_number_is_handed_out_once_and_workers_go_on(search: Callable[..., Search]) -> None:
    one = search(range(100, 120))
    one.run()
    assert sorted(one.ended) == list(range(100, 120))  # a second run of one would have crashed
    assert one.crashed == {}
    assert len({one.pid(number) for number in one.ended}) == 2


def test_two_work_at_the_same_time(search: Callable[..., Search]) -> None:
    one = search(range(4))
    one.run(function="tests.search_jobs:pair")
    assert (sorted(one.ended), one.crashed) == ([0, 1, 2, 3], {})


def test_without_work_no_process_is_started(search: Callable[..., Search]) -> None:
    one = search([])
    one.run(function="tests.search_jobs:missing")
    assert one.asked == [None]


def test_after_none_it_asks_again_only_when_a_trial_has_ended(search: Callable[..., Search]) -> None:
    # The second worker finds nothing. As 0 ends there are 1 and 2, for both; 1 and 2 end: nothing twice.
    one = search([0, None, 1, 2])
    one.run()
    assert one.asked[:4] == [0, None, 1, 2]
    assert set(one.asked[4:]) == {None}
    assert len(one.asked) <= 6
    assert sorted(one.ended) == [0, 1, 2]


def test_tick_and_what_waiting_costs(search: Callable[..., Search]) -> None:
    one = search([SLEEPS])
    before = time.process_time()
    one.run(until=time.monotonic() + 1.5)
    # 1.5 s at 5 a second, and one while the worker is stopped; on a busy machine fewer.
    assert 5 <= one.ticks <= 9
    assert time.process_time() - before < 0.2  # 10 ms are usual; one that polls burns all of it


def test_what_libraries_print_is_in_the_log(
    search: Callable[..., Search], capfd: pytest.CaptureFixture[str]
) -> None:
    one = search([CHATTERS, 1])
    one.run(count=1)
    assert one.ended == [CHATTERS, 1]
    assert capfd.readouterr() == ("", "")
    log = (one.folder / "workers" / "1.log").read_text().splitlines()
    assert sorted(log) == ["C complains", "C says hello", "print says hello", "stderr complains"]


def test_cores_are_shared_out_unless_the_environment_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "cores", lambda: 8)
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    environment = workers.environment(3)
    assert environment["TF_NUM_INTRAOP_THREADS"] == "2"
    assert environment["OMP_NUM_THREADS"] == "5"
    assert workers.environment(20)["TF_NUM_INTRAOP_THREADS"] == "1"


def test_a_worker_that_has_grown_is_replaced(search: Callable[..., Search]) -> None:
    one = search([1, 2, GROWS, 3, 4])
    one.run(count=1, memory=60 << 20)  # Python alone takes 20 MB, GROWS adds 60
    assert one.ended == [1, 2, GROWS, 3, 4]
    assert one.pid(1) == one.pid(2) == one.pid(GROWS) != one.pid(3) == one.pid(4)


# ---- the end of a worker


def test_a_worker_that_dies_takes_only_its_trial(search: Callable[..., Search]) -> None:
    one = search([KILLED, 1, EXITED, 2, TYPO, 3, LEAVES, 4])
    one.run()
    assert sorted(one.ended) == [1, 2, 3, 4]
    assert {number: reason.partition(" (see workers/")[0] for number, reason in one.crashed.items()} == {
        KILLED: "its worker was ended by signal 9: perhaps out of memory",
        EXITED: "its worker ended with exit code 3",
        TYPO: "TypeError: no such thing",
        LEAVES: "SystemExit: enough",
    }
    logs = "".join(path.read_text() for path in (one.folder / "workers").iterdir())
    assert "in typo" in logs  # the traceback


def test_a_worker_killed_from_outside_is_replaced_and_the_other_goes_on(
    search: Callable[..., Search],
) -> None:
    def kill(one: Search) -> None:
        if one.began(SLEEPS, SLEEPS_TOO) and alive(one.pid(SLEEPS)):
            os.kill(one.pid(SLEEPS), signal.SIGKILL)

    one = search([SLEEPS, SLEEPS_TOO, 1, 2], on_tick=kill, on_ended=stop_at(2))
    with pytest.raises(StopError):
        one.run()
    assert list(one.crashed) == [SLEEPS]
    assert one.ended == [1, 2]


class StopError(Exception):
    pass


def stop_at(last: int) -> Callable[[int], None]:
    def stop(number: int) -> None:
        if number == last:
            raise StopError

    return stop


def test_an_idle_worker_that_dies_is_nobodys_loss(search: Callable[..., Search]) -> None:
    """One has nothing to do while the other works; it is killed, and then there is work for two again."""

    def kill(one: Search) -> None:
        if one.ended == [1] and one.asked[-1] is None:
            if alive(one.pid(1)):
                os.kill(one.pid(1), signal.SIGKILL)
            else:
                (one.folder / "go.txt").touch()

    one = search([WAITS, 1, None, 2, 3], on_tick=kill)
    one.run()
    assert sorted(one.ended) == [1, 2, 3, WAITS]
    assert one.crashed == {}


def test_workers_that_cannot_begin_end_the_search(
    search: Callable[..., Search], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FootsegError, match=r"could not begin: AttributeError: .*'missing' \(see workers/1"):
        search([1]).run(function="tests.search_jobs:missing")
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho . >>{tmp_path}/starts\nkill -9 $$\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    one = search([1])
    with pytest.raises(FootsegError, match="could not begin: its worker was ended by signal 9: perhaps"):
        one.run()
    assert (tmp_path / "starts").read_text() == ".\n" * 3  # the same number each time
    assert (one.asked, one.crashed) == ([1, None], {})
    python.unlink()
    with pytest.raises(FootsegError, match=r"cannot be started \(No such file"):
        search([1]).run()


# ---- the end of all


def test_an_error_of_a_trial_ends_all_and_interrupts_the_others(search: Callable[..., Search]) -> None:
    def numbers() -> Iterator[int]:
        yield SLEEPS
        waited_for(lambda: one.began(SLEEPS))
        yield FULL

    one = search(numbers())
    with pytest.raises(DiskFullError) as caught:
        one.run()
    assert str(caught.value) == "the disk is full (No space left on device): x was not written"
    assert (one.folder / "interrupted.txt").exists()
    assert not alive(one.pid(SLEEPS))
    assert (one.ended, one.crashed) == ([], {})


def test_an_error_that_no_pipe_takes_keeps_its_text(search: Callable[..., Search]) -> None:
    with pytest.raises(FootsegError, match=r"^this needs the package hyperopt$"):
        search([PICKY]).run()


@pytest.mark.usefixtures("interruptible")
def test_until_cuts_trials_short(search: Callable[..., Search]) -> None:
    one = search([SLEEPS, LATE, 1])
    one.run(until=time.monotonic() + 1)
    assert one.asked == [SLEEPS, LATE]
    assert (one.folder / "interrupted.txt").exists()
    assert one.ended == [LATE]  # it had its end while it was waited for
    assert one.crashed == {}  # SLEEPS is neither: its record stays as it is


def test_who_does_not_stop_is_killed(search: Callable[..., Search]) -> None:
    one = search([STUBBORN])
    began = time.monotonic()
    one.run(until=began + 1, patience=0.5)
    assert (one.folder / "stubborn.txt").exists()
    assert not alive(one.pid(STUBBORN))
    assert (one.ended, one.crashed) == ([], {})
    assert time.monotonic() - began < 10  # of 30 that is the patience otherwise


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_interrupts_the_trials_and_goes_up(search: Callable[..., Search]) -> None:
    def press(one: Search) -> None:
        if one.began(SLEEPS, LATE):
            signal.raise_signal(signal.SIGINT)

    one = search([SLEEPS, LATE], on_tick=press)
    with pytest.raises(KeyboardInterrupt):
        one.run()
    assert (one.folder / "interrupted.txt").read_text() == f"{one.pid(SLEEPS)}\n"
    assert one.ended == [LATE]
    assert not any(map(alive, map(one.pid, (SLEEPS, LATE))))


@pytest.mark.usefixtures("interruptible")
def test_a_second_ctrl_c_waits_for_nobody(search: Callable[..., Search]) -> None:
    def press(one: Search) -> None:
        if one.began(STUBBORN):
            signal.raise_signal(signal.SIGINT)

    one = search([STUBBORN], on_tick=press)
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    began = time.monotonic()
    signal.setitimer(signal.ITIMER_REAL, 1)
    try:
        with pytest.raises(KeyboardInterrupt):
            one.run()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
    assert 1 <= time.monotonic() - began < 10  # of a patience of 30
    assert not alive(one.pid(STUBBORN))


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_of_a_search_that_is_killed(sent: signal.Signals, tmp_path: Path) -> None:
    """Nor of what a worker has started; and the lock is free again."""
    numbers = (SLEEPS, STARTS_ANOTHER)
    one = Search(tmp_path, iter(()))
    with killable(tmp_path, numbers) as process:
        waited_for(lambda: one.began(*numbers) and (tmp_path / "child.txt").exists())
        pids = [*map(one.pid, numbers), int((tmp_path / "child.txt").read_text())]
        assert not free(tmp_path)
        assert all(map(alive, pids))
        process.send_signal(sent)
        assert process.wait(30) == -sent  # Python, too, ends by SIGINT where nobody catches it
        # Half a second to clean up; the rest is for a busy machine. A process is not seen any more when its
        # first thread has ended, and holds the lock until the last one has.
        waited_for(lambda: not any(map(alive, pids)) and free(tmp_path), 3)
    assert (tmp_path / "interrupted.txt").exists()  # even then it is told


def killable(folder: Path, numbers: Sequence[int]) -> "subprocess.Popen[bytes]":
    """A search of its own."""
    code = "from pathlib import Path; from tests.test_search_workers import Search; "
    code += f"Search(Path({str(folder)!r}), iter({numbers!r})).run()"
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.DEVNULL)


def free(folder: Path) -> bool:
    with (folder / "lock").open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
