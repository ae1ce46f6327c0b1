"""Trials on an Apache Spark cluster, where one machine is too small: hyperopt's SparkTrials, fed from here.

SparkTrials asks for points one by one, runs each as a Spark job of one task, and looks for new ones once a
second: with that, a trial that does nothing takes 1.2 s (by ``workers.py`` 0.1 ms). Here it never sees the
points. What it is given, and carries to the executors, is the number of a trial: its record and its run are
in the search's folder, which all machines must share, and the points are drawn as they are without it.
"""

import contextlib
import dataclasses
import logging
import os
import pkgutil
import re
import shutil
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from footseg import __version__, installation
from footseg.errors import FootsegError, require
from footseg.quiet import native_stderr_to
from footseg.search import worker, workers
from footseg.search.workers import Feed

LOG = "spark.log"
# Seconds for a master to take a connection, and for executors to be found and to answer.
CONNECT, ANSWER = 5.0, 90.0
INSTALL = f"{installation.command('train,search,spark')} on every machine"
JAVA = "Spark needs Java 17 or newer: install it (apt-get install openjdk-17-jre-headless)"


def run_spark(feed: Feed, *, count: int, master: str, function: str = worker.FUNCTION) -> None:
    """Have a cluster run ``count`` trials at a time; all else is as in ``workers.run_local``.

    Executors are Spark's to end: trials that are cut short are killed, and go on from their last epoch.

    Args:
        master: "spark://HOST:PORT", "yarn", "k8s://...", or "local[N]": N trials at a time on this machine;
            "": that of spark-submit where this was started by it, else this machine.

    Raises:
        FootsegError: raised by a trial; no pyspark, Java or answer; executors without footseg or folder.
        KeyboardInterrupt: Ctrl-C; the trials are cancelled.
    """
    feed = dataclasses.replace(feed, folder=feed.folder.resolve(), tick=workers.throttled(feed.tick))
    with session(master, feed.folder, count) as spark, _logged(feed.folder):
        cluster = _SparkTrials(spark, feed, count, function)
        cluster.check()
        cluster.work()


@contextlib.contextmanager
def session(master: str, folder: Path, count: int) -> Iterator[Any]:
    """A Spark session, ended with the block; one that is there already is taken, and left as it is.

    What Spark says goes to ``workers/spark.log`` of ``folder``.

    Raises:
        FootsegError: no pyspark, no Java, or Spark does not start with this master.
    """
    pyspark = require("pyspark.sql", "spark")
    if (active := pyspark.SparkSession.getActiveSession()) is not None:
        yield active
        return
    _check_java()
    _check_master(master)
    builder = pyspark.SparkSession.builder.appName("footseg search")
    if not master and "PYSPARK_GATEWAY_PORT" not in os.environ:  # spark-submit sets both
        master = f"local[{count}]"
    if master:
        builder = builder.master(master)
    for name, value in _settings(master, count).items():
        builder = builder.config(name, value)
    log = folder / workers.LOGS / LOG
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output, native_stderr_to(output), _surroundings(master):
        try:
            spark = builder.getOrCreate()
        except Exception as error:
            raise FootsegError(f"Spark does not start with master {master!r}: {_said(error, log)}") from error
    try:
        yield spark
    finally:
        spark.stop()


class _SparkTrials:
    """hyperopt's view of a search, and the search's view of hyperopt."""

    def __init__(self, spark: Any, feed: Feed, count: int, function: str) -> None:
        self._spark, self._feed, self._count = spark, feed, count
        self._told = (str(feed.folder), function)  # to executors
        self._group = f"footseg-search-{os.getpid()}-{time.monotonic_ns()}"
        self._running: dict[int, int] = {}  # numbers of the trials, by those that hyperopt gave them
        self._cancelled, self._over = threading.Event(), threading.Event()

    def check(self) -> None:
        """Ask executors whether they can work.

        Raises:
            FootsegError: they cannot, or there are none.
        """
        context = self._spark.sparkContext
        context.setJobGroup(self._group, "trials of footseg search")
        late = threading.Timer(ANSWER, self._cancel_jobs)
        late.daemon = True
        late.start()
        try:
            tasks = context.parallelize(range(self._count), self._count)
            amiss = list(filter(None, tasks.map(partial(_amiss, *self._told, __version__)).collect()))
        except Exception as error:
            if not late.is_alive():
                raise FootsegError(
                    f"Spark had no free executor for {ANSWER:.0f} s: the cluster is busy, or has no workers"
                ) from error
            said = _said(error)
            hint = f"; {INSTALL}" if "No module named" in said else ""
            raise FootsegError(f"Spark's executors cannot run trials: {said}{hint}") from error
        finally:
            late.cancel()
        if amiss:
            raise FootsegError(amiss[0])

    def work(self) -> None:
        """Until there is nothing more to do."""
        hyperopt = require("hyperopt", "search")
        trials = hyperopt.SparkTrials(parallelism=self._count, spark_session=self._spark)
        again = threading.Thread(target=self._keep_cancelling, daemon=True)
        again.start()
        try:
            hyperopt.fmin(
                partial(_objective, *self._told),
                hyperopt.hp.randint("number", 1 << 31),
                algo=self._suggest,
                max_evals=sys.maxsize,
                # One more than there can be, so that _suggest is called without a second's pause.
                max_queue_len=self._count + 1,
                trials=trials,
                return_argmin=False,
                show_progressbar=False,
                verbose=False,
            )
        except KeyboardInterrupt:
            self._close(trials)
            raise
        finally:
            self._over.set()
            again.join()
        self._close(trials)

    def _suggest(self, ids: list[int], domain: Any, trials: Any, seed: int) -> list[Any]:
        """hyperopt's algorithm: waits until there is room, then gives the next trial; none ends fmin."""
        try:
            number = self._number(trials)
        except BaseException:
            self._cancel(trials)
            raise
        if number is None:
            return []
        tid = ids[0]
        self._running[tid] = number
        misc = {
            "tid": tid,
            "cmd": domain.cmd,
            "workdir": domain.workdir,
            "idxs": {"number": [tid]},
            "vals": {"number": [number]},
        }
        return trials.new_trial_docs([tid], [None], [domain.new_result()], [misc])

    def _number(self, trials: Any) -> int | None:
        dry = False
        while True:
            self._feed.tick()
            if self._close(trials):
                dry = False
            if time.monotonic() >= self._feed.until:
                self._cancel(trials)
                return None
            if not dry and len(self._running) < self._count:
                number = self._feed.next_trial()
                if number is not None:
                    return number
                dry = True
            if dry and not self._running:
                return None
            time.sleep(workers.TICK)

    def _close(self, trials: Any) -> bool:
        """Tell of the trials that have come to an end; whether there were any."""
        base = require("hyperopt.base", "search")
        open_states = (base.JOB_STATE_NEW, base.JOB_STATE_RUNNING)
        documents = {document["tid"]: document for document in trials.trials}
        closed = False
        for tid, number in list(self._running.items()):
            document = documents.get(tid)  # hyperopt drops those that failed
            state = base.JOB_STATE_ERROR if document is None else document["state"]
            kind, said = (document or {}).get("result", {}).get("answer", (None, None))
            # "Done" is written before the result is.
            if state in open_states or (state == base.JOB_STATE_DONE and kind is None):
                continue
            del self._running[tid]
            closed = True
            self._tell(number, kind, said)
        return closed

    def _tell(self, number: int, kind: str | None, said: Any) -> None:
        if kind == worker.ERROR:
            raise said
        if kind == worker.ENDED:
            self._feed.ended(number)
        elif not self._cancelled.is_set():
            why = said if kind == worker.CRASHED else "its executor's process died: perhaps out of memory"
            self._feed.crashed(number, f"{why} (see {workers.LOGS}/{LOG}, or the executor's log)")

    def _cancel(self, trials: Any) -> None:
        """Neither begin nor go on with any trial."""
        base = require("hyperopt.base", "search")
        for document in trials.trials:
            if document["state"] == base.JOB_STATE_NEW:
                document["state"] = base.JOB_STATE_CANCEL
        self._cancelled.set()

    def _keep_cancelling(self) -> None:
        """hyperopt waits for its jobs at the end, and one may just be about to be sent."""
        while not self._over.wait(workers.TICK):
            if self._cancelled.is_set():
                self._cancel_jobs()

    def _cancel_jobs(self) -> None:
        self._spark.sparkContext.cancelJobGroup(self._group)


def _objective(folder: str, function: str, number: int) -> dict[str, Any]:
    """Run a trial, on an executor. hyperopt would take an exception for the end of all."""
    answer: worker.Answer = (worker.ENDED, None)
    try:
        pkgutil.resolve_name(function)(Path(folder), int(number))
    except (Exception, SystemExit) as error:
        answer = worker.outcome(error)
    return {"status": "ok", "loss": 0.0, "answer": answer}


def _amiss(folder: str, function: str, version: str, task: int) -> str:
    """On an executor: why it cannot run trials; "" where it can."""
    host = socket.gethostname()
    if not Path(folder).is_dir():
        return f"{host} does not see {folder}: the search's folder must be on a disk that all machines share"
    if version != __version__:
        return f"{host} has footseg {__version__}, this machine {version}: install the same everywhere"
    try:
        import hyperopt  # noqa: F401

        pkgutil.resolve_name(function)
    except ImportError as error:
        return f"{host} cannot run trials ({error}); {INSTALL}"
    return ""


def _settings(master: str, count: int) -> dict[str, str]:
    settings = {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.log.level": "ERROR",
        # A trial that has ended its executor's process would end the next.
        "spark.task.maxFailures": "1",
        # How long a cancelled trial may go on.
        "spark.python.task.killTimeout": "100ms",
    }
    if _is_local(master):
        names = ("PYTHONPATH", "PYTHONSAFEPATH", *workers.THREADS, "TF_FORCE_GPU_ALLOW_GROWTH")
        environment = workers.environment(count)
        settings |= {f"spark.executorEnv.{name}": environment[name] for name in names}
    return settings


def _is_local(master: str) -> bool:
    return master.startswith("local")


@contextlib.contextmanager
def _surroundings(master: str) -> Iterator[None]:
    """What Spark reads from the environment where it is all on this machine; and Ctrl-C stays Python's.

    pyspark's own handler speaks with Java from wherever it came, and may wait for itself.
    """
    here = {"SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable} if _is_local(master) else {}
    before = {name: os.environ.get(name) for name in here}
    handler = signal.getsignal(signal.SIGINT)
    os.environ.update({name: value for name, value in here.items() if before[name] is None})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)


@contextlib.contextmanager
def _logged(folder: Path) -> Iterator[None]:
    """hyperopt's notes on SparkTrials go to the log rather than the terminal."""
    path = folder / workers.LOGS / LOG
    path.parent.mkdir(parents=True, exist_ok=True)
    logger = logging.getLogger("hyperopt-spark")
    before, propagates = logger.handlers[:], logger.propagate
    handler = logging.FileHandler(path, encoding="utf-8")
    logger.handlers[:], logger.propagate = [handler], False
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Spark session is not provided")
            yield
    finally:
        logger.handlers[:], logger.propagate = before, propagates
        handler.close()


def _check_java() -> None:
    home = os.environ.get("JAVA_HOME")
    if home and not (Path(home) / "bin" / "java").is_file():
        raise FootsegError(f"JAVA_HOME is {home}, where no bin/java is: {JAVA}, or mend JAVA_HOME")
    if not home and shutil.which("java") is None:
        raise FootsegError(f"no java was found: {JAVA}")


def _check_master(master: str) -> None:
    """Spark itself would try for a minute, and then say little."""
    if not master.startswith("spark://"):
        return
    why = ""
    for address in master.removeprefix("spark://").split(","):
        host, _, port = address.rpartition(":")
        if not (host and port.isdecimal()):
            raise ValueError(f"the master {master!r} has no host and port: it should be as spark://HOST:7077")
        try:
            socket.create_connection((host.strip("[]"), int(port)), CONNECT).close()
        except OSError as error:
            why = error.strerror or str(error)
        else:
            return
    raise FootsegError(
        f"the Spark master {master} does not answer ({why}): start it, or give another (local[2]: here)"
    )


def _said(error: Exception, log: Path | None = None) -> str:
    """The line that says most, of the pages that Spark gives for an error."""
    text = str(error)
    if log is not None and "JAVA_GATEWAY_EXITED" in text:  # Java itself has said why
        text = log.read_text(encoding="utf-8", errors="replace")
    if "UnsupportedClassVersionError" in text:
        return f"this Java is too old; {JAVA}"
    python = re.findall(r"^\w+Error: .+$", text, re.MULTILINE)
    java = re.findall(r"(?:Error|Exception): (?!Job aborted)(.+)$", text, re.MULTILINE)
    lines = python[-1:] or java[:1] or text.strip().splitlines()[-1:] or [type(error).__name__]
    return lines[0].strip()
