"""Trials on a Spark cluster: a local one of two executors, started once."""

import math
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from footseg.errors import FootsegError, MissingExtraError
from footseg.files import DiskFullError
from footseg.search import spark
from tests.test_search_workers import FULL, KILLED, SLEEPS, TYPO, Search, alive, waited_for

MEET = (24, 25)


class SparkSearch(Search):
    """The same, on the cluster."""

    def run(self, until: float = math.inf, **options: Any) -> None:
        options = {"count": 2, "function": "tests.search_jobs:behave", "master": "local[2]", **options}
        spark.run_spark(self.feed(until), **options)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    for package in ("pyspark", "hyperopt"):
        pytest.importorskip(package)
    folder = tmp_path_factory.mktemp("spark")
    # Executors import nothing of the folder that a search is started in.
    (folder / "json.py").write_text("raise RuntimeError('a file of the user was imported')")
    with pytest.MonkeyPatch.context() as patch:
        # Half the processor time: a cluster of seconds repays no optimising compiler.
        patch.setenv("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")
        patch.chdir(folder)
        with spark.session("", folder, 2) as session:
            assert session.sparkContext.master == "local[2]"
            yield


@pytest.fixture
def search(tmp_path: Path) -> Callable[..., Search]:
    return lambda numbers, **options: SparkSearch(tmp_path, iter(numbers), **options)


# ---- before there is a session


def test_without_pyspark(search: Callable[..., Search], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyspark", None)
    monkeypatch.delitem(sys.modules, "pyspark.sql", raising=False)
    with pytest.raises(MissingExtraError, match=r"pyspark, which is not installed: pip install .*\[spark"):
        search([1]).run()


def test_without_java(search: Callable[..., Search], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(
        FootsegError, match=r"no java was found: .* \(apt-get install openjdk-17-jre-headless"
    ):
        search([1]).run()
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(FootsegError, match=r"JAVA_HOME is .*, where no bin/java is: .* openjdk-17"):
        search([1]).run()


@pytest.mark.parametrize(
    "says", ["UnsupportedClassVersionError: compiled by a more recent", "Error: Could not reserve"]
)
def test_a_java_that_does_not_start(
    says: str, search: Callable[..., Search], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text(f"#!/bin/sh\necho '{says}' >&2\nexit 1\n")
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    expected = "this Java is too old; Spark needs Java 17" if "Class" in says else "Could not reserve"
    with pytest.raises(FootsegError, match=rf"Spark does not start with master 'local\[2\]': {expected}"):
        search([1]).run()


def test_a_master_that_does_not_answer(search: Callable[..., Search]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(
        FootsegError, match=rf"master spark://127\.0\.0\.1:{port} does not answer \(Connection"
    ):
        search([1]).run(master=f"spark://127.0.0.1:{port}")
    with pytest.raises(
        ValueError, match=r"'spark://here' has no host and port: it should be as spark://HOST"
    ):
        search([1]).run(master="spark://here")


# ---- with one


@pytest.mark.usefixtures("cluster")
def test_trials_run_beside_each_other_and_fail_alone(
    search: Callable[..., Search], capfd: pytest.CaptureFixture[str]
) -> None:
    one = search([TYPO, KILLED, 1, *MEET])
    one.run()
    assert sorted(one.ended) == [1, *MEET]
    assert {number: reason.partition(" (see ")[0] for number, reason in one.crashed.items()} == {
        TYPO: "TypeError: no such thing",
        KILLED: "its executor's process died: perhaps out of memory",
    }
    assert one.ticks > 5
    assert capfd.readouterr().err == ""


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_an_error_of_a_trial_ends_all(search: Callable[..., Search]) -> None:
    one = search([SLEEPS, FULL])
    with pytest.raises(DiskFullError) as caught:
        one.run()
    assert str(caught.value) == "the disk is full (No space left on device): x was not written"
    assert (one.ended, one.crashed) == ([], {})
    waited_for(lambda: not alive(one.pid(SLEEPS)))


@pytest.mark.slow
@pytest.mark.usefixtures("cluster", "interruptible")
def test_ctrl_c_cancels_the_trials_and_goes_up(search: Callable[..., Search]) -> None:
    def press(one: Search) -> None:
        if one.began(SLEEPS):
            signal.raise_signal(signal.SIGINT)

    one = search([SLEEPS], on_tick=press)
    with pytest.raises(KeyboardInterrupt):
        one.run(count=1)
    assert (one.ended, one.crashed) == ([], {})
    waited_for(lambda: not alive(one.pid(SLEEPS)))  # Spark looks every two seconds


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_until_cancels_what_runs(search: Callable[..., Search]) -> None:
    one = search([SLEEPS])
    one.run(count=1, until=time.monotonic() + 1)  # at most moments after it began
    assert (one.ended, one.crashed) == ([], {})


@pytest.mark.usefixtures("cluster")
def test_executors_that_cannot_work(search: Callable[..., Search]) -> None:
    host = socket.gethostname()
    with pytest.raises(
        FootsegError, match=rf"^{host} cannot run trials \(No module named 'tests\.missing'\)"
    ):
        search([1]).run(function="tests.missing:behave")
    assert spark._amiss("/no/such", "tests.search_jobs:behave", "0", 0).startswith(
        f"{host} does not see /no/such"
    )
    assert "this machine 0:" in spark._amiss(str(Path.cwd()), "tests.search_jobs:behave", "0", 0)
