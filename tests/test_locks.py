"""One process at a time in a folder, and nothing left of those that were killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from footseg import files, locks, temporary
from footseg.errors import FootsegError

ROOT = Path(__file__).resolve().parents[1]

HOLD = """
import sys, time
from pathlib import Path
from footseg import files, locks
with locks.alone_in(Path(sys.argv[1]), "footseg train tiptoe"), files.atomic_path(Path(sys.argv[1])) as path:
    path.mkdir()
    (path / "half").write_text("x")
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that writes the folder run."""
    words = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_second_is_told_who_is_there(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    told = rf"run is in use by process {holder.pid} \(footseg train tiptoe, since 20.*another --out"
    with pytest.raises(FootsegError, match=told), locks.alone_in(tmp_path / "run", "footseg compress"):
        raise AssertionError("two processes hold one folder")
    with locks.alone_in(tmp_path / "other", "footseg compress"):
        assert ".other.lock" in names(tmp_path)


def test_after_a_kill_the_next_command_has_the_folder_and_sweeps(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    left = names(tmp_path)
    assert len(left) == 2  # the lock file and the temporary folder
    temporary._sweep.cache_clear()  # as another process
    with locks.alone_in(tmp_path / "run", "footseg train"), files.atomic_path(tmp_path / "run") as path:
        path.mkdir()
    assert names(tmp_path) == ["run"]
    assert names(tmp_path / "run") == []


def test_a_living_process_loses_nothing(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    before = names(tmp_path)
    temporary._sweep.cache_clear()
    files.write_text(tmp_path / "beside", "x")
    assert set(names(tmp_path)) == {*before, "beside"}
    (half,) = tmp_path.glob(f".run*{temporary.SUFFIX}/run/half")
    assert half.read_text() == "x"
    assert holder.poll() is None


def test_a_link_and_its_folder_are_one(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "run")
    with (
        locks.alone_in(tmp_path / "run", "one"),
        pytest.raises(FootsegError, match="in use by"),
        locks.alone_in(tmp_path / "link", "two"),
    ):
        raise AssertionError("two hold one folder")


def test_folders_made_for_a_lock_go_with_it_and_used_ones_stay(tmp_path: Path) -> None:
    with locks.alone_in(tmp_path / "a" / "b" / "run", "x"):
        assert (tmp_path / "a" / "b").is_dir()
    assert names(tmp_path) == []
    with locks.alone_in(tmp_path / "a" / "b" / "run", "x"):
        (tmp_path / "a" / "b" / "run").mkdir()
    assert names(tmp_path / "a" / "b") == ["run"]


@pytest.mark.parametrize(
    "name", ["n" * 250 + ".json", "ü" * 120, b"caf\xe9".decode(errors="surrogateescape")]
)
def test_any_name_that_a_disk_takes_can_be_written(tmp_path: Path, name: str) -> None:
    with locks.alone_in(tmp_path / name, "x"):
        files.write_text(tmp_path / name, "whole")
    assert (tmp_path / name).read_text() == "whole"
    assert names(tmp_path) == [name]


def test_a_read_only_folder_is_noticed_at_once(tmp_path: Path) -> None:
    closed = tmp_path / "file"
    closed.write_text("no folder")
    began = time.monotonic()
    with pytest.raises(FootsegError, match="cannot be used"), locks.alone_in(closed / "run", "x"):
        raise AssertionError("held")
    assert time.monotonic() - began < 1


def test_what_a_kill_left_in_a_folder_goes_when_the_next_holds_it(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / f".model.keras.x{temporary.SUFFIX}").mkdir(parents=True)
    (run / ".step.lock").write_text("half a record")
    (run / "model.keras").write_text("whole")
    with locks.alone_in(run, "x"):
        assert names(run) == ["model.keras"]


REPLACE = """
import os, sys
from pathlib import Path
from footseg import files
real = Path.replace
Path.replace = lambda path, other: os._exit(9) if path.is_dir() else real(path, other)
with files.atomic_path(Path(sys.argv[1])) as folder:
    folder.mkdir()
"""


def test_a_folder_that_a_kill_found_between_two_names_is_there_again(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "old").touch()
    words = [sys.executable, "-c", REPLACE, str(tmp_path / "set")]
    assert subprocess.run(words, cwd=ROOT, check=False).returncode == 9
    assert not (tmp_path / "set").exists()
    with locks.alone_in(tmp_path / "set", "x"):
        assert names(tmp_path / "set") == ["old"]
    assert names(tmp_path) == ["set"]
    assert names(tmp_path / "set") == ["old"]
