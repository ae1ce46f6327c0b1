"""How commands end: on SIGTERM as on Ctrl-C, with their children, not for want of readers."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from footseg import cli, files, temporary, terminal
from footseg.data.shapes import write_shapes
from footseg.data.synth import SynthConfig

ROOT = Path(__file__).resolve().parents[1]
# A command that says much, and then writes a file: as a night's training does.
TALKS = """
import sys
from pathlib import Path
from footseg import cli
from footseg.commands._command import Command, Output, run, say

def work(args):
    for number in range(20000):
        say(f"epoch {number}")
    Path(sys.argv[1]).write_text("whole")
    return Output({}, "")

cli.COMMANDS = (Command(("talk",), "say much", lambda sub: None, work),)
sys.exit(cli.main(["talk", *sys.argv[2:]]))
"""


def talk(out: Path, redirection: str, *flags: str) -> int:
    """The exit status of a command that says much, with its standard error sent where a shell sends it."""
    words = f'"{sys.executable}" -c "$1" "{out}" {" ".join(flags)} {redirection}'
    shell = ["bash", "-c", f"{words}; exit ${{PIPESTATUS[0]}}", "bash", TALKS]
    return subprocess.run(shell, cwd=ROOT, timeout=60, check=False, stdin=subprocess.DEVNULL).returncode


@pytest.mark.parametrize("flags", [(), ("--debug",)])
@pytest.mark.parametrize("redirection", ["2>&1 >/dev/null | head -1 >/dev/null", "2>/dev/full", "2>&-"])
def test_work_goes_on_when_nobody_takes_its_progress(
    tmp_path: Path, redirection: str, flags: tuple[str, ...]
) -> None:
    assert talk(tmp_path / "out", redirection, *flags) == 0
    assert (tmp_path / "out").read_text() == "whole"


def test_what_is_meant_for_a_closed_terminal_goes_into_no_file(tmp_path: Path) -> None:
    assert talk(tmp_path / "out", "0<&- 1>&- 2>&-") == 0
    assert (tmp_path / "out").read_text() == "whole"


@pytest.fixture
def feet(tmp_path: Path) -> Path:
    """Feet to cut out, enough for more than one process."""
    write_shapes(tmp_path / "feet", SynthConfig({"train": 8}, seed=1, size=(64, 64)))
    return tmp_path / "feet" / "train"


def synth(folder: Path, feet: Path) -> subprocess.Popen[str]:
    """``footseg data synth`` with two workers, which are at work."""
    words = ["data", "synth", str(folder), "--feet", str(feet), "--floors", str(feet / "images")]
    process = subprocess.Popen(
        [sys.executable, "-m", "footseg", *words, "--count", "5000", "--size", "64", "--workers", "2"],
        cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    until = time.monotonic() + 60
    while not list(folder.parent.glob(f".{folder.name}*/{folder.name}/train/images/*.jpg")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.05)
    return process


def of_session(session: int) -> list[int]:
    """Processes of a session that are alive."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(after_name[3]) == session and after_name[0] != "Z":
            found.append(int(stat.parent.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_their_parent(tmp_path: Path, feet: Path, sent: signal.Signals) -> None:
    process = synth(tmp_path / "out", feet)
    assert len(of_session(process.pid)) >= 3  # itself and two workers
    process.send_signal(sent)
    said = process.communicate(timeout=30)[1]
    until = time.monotonic() + 5  # what a person waits before looking for what is left
    while of_session(process.pid) and time.monotonic() < until:
        time.sleep(0.05)
    left = of_session(process.pid)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == []
    if sent == signal.SIGTERM:
        assert process.returncode == 130
        assert said.strip().endswith("footseg: interrupted")
    temporary._sweep.cache_clear()  # the next command is another process
    files.write_text(tmp_path / "next", "x")
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != ".out.lock") == ["feet", "next"]


def test_what_a_terminal_would_obey_is_written_out() -> None:
    assert terminal.printable("a\x1b[2Jb\r\x9bc\x7f") == "a\\x1b[2Jb\\x0d\\x9bc\\x7f"
    assert terminal.printable("two\nlines\tand Füße") == "two\nlines\tand Füße"
    assert terminal.printable(b"caf\xe9".decode(errors="surrogateescape")) == "caf\\udce9"


INTERRUPTED_IMPORT = """
import importlib.abc, os, signal, sys, time
class Slow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "footseg.commands":
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(10)
sys.meta_path.insert(0, Slow())
if sys.argv[1] == "ignored":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    time.sleep = lambda seconds: None
from footseg.__main__ import main
sys.argv = ["footseg", "--version"]
sys.exit(main())
"""


@pytest.mark.parametrize(("how", "code"), [("heeded", -signal.SIGINT), ("ignored", 0)])
def test_ctrl_c_before_a_command_has_begun_just_ends_it(how: str, code: int) -> None:
    words = [sys.executable, "-c", INTERRUPTED_IMPORT, how]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (code, "")


# A command whose work is the text that it is given.
COMMAND = """
import sys, time
from footseg import cli
from footseg.commands._command import Command, Output, say

def work(args):
    exec(sys.argv[1], {"say": say, "time": time, "out": sys.argv[2]})
    return Output({}, "done")

def out(sub):
    sub.add_argument("--out", default=".")

cli.COMMANDS = (Command(("work",), "work", out, work),)
sys.exit(cli.main(["work", *sys.argv[3:]]))
"""
SWALLOWS = """
class Swallows:
    def __del__(self):
        say("at work")
        time.sleep(1)
one = Swallows()
del one
try:
    time.sleep(1)
except BaseException as error:
    raise RuntimeError("a library's") if out == "changed" else error
time.sleep(30)
"""
CLEANS_UP = """
try:
    say("at work")
    time.sleep(30)
finally:
    time.sleep(1)
    open(out, "w").write("whole")
"""


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("work", ["swallowed", "changed", "cleaning up"])
def test_an_interrupt_is_heeded_once_whatever_a_library_makes_of_it(
    tmp_path: Path, work: str, sent: signal.Signals
) -> None:
    out = tmp_path / "out"
    text, word = (CLEANS_UP, str(out)) if work == "cleaning up" else (SWALLOWS, work)
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, text, word], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    assert process.stderr.readline() == "at work\n"
    time.sleep(0.1)  # for it to leave the writing of that line
    process.send_signal(sent)
    said = process.communicate(timeout=20)[1]
    assert (process.returncode, said) == (130, "footseg: interrupted\n")
    assert out.exists() == (work == "cleaning up")  # it was not interrupted a second time


def test_a_full_disk_says_how_each_command_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "two words"
    out.mkdir()
    for words, record in (
        (("train", "enet"), "run.json"),
        (("compress", "run", "--prune", "0.5"), "compress.json"),
        (("search", "enet"), "search.json"),
    ):
        args = cli.parser(cli.COMMANDS).parse_args([*words, "--out", str(out)])
        assert args.go_on(args) == "run the command again"
        (out / record).touch()
        assert args.go_on(args) == f"go on with: footseg {words[0]} --resume --out '{out}'"
    args = cli.parser(cli.COMMANDS).parse_args(["export", "run", "--out", str(out)])
    assert args.go_on(args) == "run the command again"


FULL = """
open(out + "/small", "wb").write(bytes(1 << 20))
"""


@pytest.mark.parametrize("full", ["out", "temporary"])
def test_the_disk_that_is_full_is_named(tmp_path: Path, full: str) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    small.mkdir()
    large.mkdir()
    mount = f'mount -t tmpfs -o size=256k none "{small}" && exec "$@"'
    apart = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh"]
    if not shutil.which("unshare") or subprocess.run([*apart, "true"], check=False).returncode:
        pytest.skip("needs Linux, and the right to mount a small disk in a namespace")
    out, temporary_files = (small, large) if full == "out" else (large, small)
    words = [sys.executable, "-c", COMMAND, FULL, str(small), "--out", str(out / "page")]
    env = {**os.environ, "TMPDIR": str(temporary_files)}
    done = subprocess.run([*apart, *words], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    disk, where = "disk", ""
    if full == "temporary":
        disk, where = "disk of temporary files", f" in {small}, or set TMPDIR to another folder,"
    assert done.stderr == (
        f"footseg: the {disk} is full (No space left on device): {out}/page was not written; "
        f"free some space{where} and run the command again\n"
    )


TEMPORARY = """
import os, subprocess, sys, tempfile
child = [sys.executable, "-c", "import tempfile; print(tempfile.gettempdir())"]
assert subprocess.run(child, capture_output=True, text=True).stdout.strip() == tempfile.gettempdir()
tempfile.mkdtemp()
open(os.path.join(tempfile.gettempdir(), "a library's"), "w").write("x")
if out == "killed":
    os.kill(os.getpid(), 9)
"""


def test_temporary_files_go_with_their_command_or_with_the_next(tmp_path: Path) -> None:
    somebodys = tmp_path / "somebody's"
    somebodys.mkdir()

    def run(word: str) -> int:
        words = [sys.executable, "-c", COMMAND, TEMPORARY, word]
        env = {**os.environ, "TMPDIR": str(tmp_path)}
        return subprocess.run(words, cwd=ROOT, env=env, check=False).returncode

    assert run("killed") == -signal.SIGKILL
    (left,) = set(tmp_path.iterdir()) - {somebodys}
    assert temporary.is_ours(left)
    assert run("done") == 0
    assert list(tmp_path.iterdir()) == [somebodys]


APPENDS = """
import sys
from pathlib import Path
from footseg.benchmarks import results_file

class Line:
    def to_json(self):
        return {"who": sys.argv[2], "long": "x" * 20000}

for _ in range(200):
    results_file.append_line(Path(sys.argv[1]), Line())
"""


def test_two_processes_append_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    both = [
        subprocess.Popen([sys.executable, "-c", APPENDS, str(path), who], cwd=ROOT) for who in ("one", "two")
    ]
    assert [process.wait(60) for process in both] == [0, 0]
    told = [json.loads(line)["who"] for line in path.read_text().splitlines()]
    assert Counter(told) == {"one": 200, "two": 200}


def test_a_demo_that_is_told_to_end_says_so_by_its_exit_code(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "footseg", "demo", "--out", str(tmp_path / "demo")],
        cwd=ROOT, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    while "data synth" not in (line := process.stderr.readline()):
        assert line, process.wait()
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=30)[1]
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert list(tmp_path.glob(".*")) == []
