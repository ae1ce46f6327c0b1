"""``footseg bench --on android``: files on phones, through adb.

Each phone is measured by a thread of its own, file after file: pushed, cooled down, timed, compared with the
first fp32 file in turns, weighed by the fuel gauge, and its masks held against this machine's. What fails on
one phone does not touch the others, and nothing of ours stays on any.
"""

import queue
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from footseg import artifact
from footseg.android_harness import adb, toolchain
from footseg.android_harness.adb import Device
from footseg.android_harness.errors import HarnessError
from footseg.artifact import Artifact
from footseg.benchmarks import agreement, cost
from footseg.benchmarks.agreement import Task
from footseg.benchmarks.android.phone import Phone
from footseg.benchmarks.android.request import PhoneJob, PhoneRequest
from footseg.benchmarks.harness import as_footseg
from footseg.benchmarks.measurement import Measurement
from footseg.errors import FootsegError

ALL = "all"
# e_machine in the head of an ELF file: 64 bits, 32 bits
ARM = (b"\xb7\x00", b"\x28\x00")


def measure_all(
    paths: Sequence[Path],
    serials: Sequence[str] = (),
    *,
    say: Callable[[str], None] = lambda line: None,
    env: Mapping[str, str] | None = None,
    **options: object,
) -> Iterator[Measurement]:
    """Measure files on phones; each line comes as soon as it is complete.

    Args:
        paths: .tflite files.
        serials: of the phones, as ``adb devices`` lists them; "all" for all, none for the only one.
        say: told of progress.
        env: adb's environment, which says where its server listens; None is this process's.
        options: fields of ``PhoneRequest``.

    Raises:
        FootsegError: a file or the data cannot be used, no phone can; or, after the lines of the others, what
            went wrong on a phone.
        ValueError: as ``PhoneRequest``.
    """
    request = PhoneRequest(**options)  # type: ignore[arg-type]
    artifacts = tuple(_tflite(path) for path in paths)
    if not artifacts:
        raise ValueError("give at least one file to measure")
    _check_tool(request)
    return _measure_all(request, artifacts, serials, say, env)


def _measure_all(
    request: PhoneRequest,
    artifacts: tuple[Artifact, ...],
    serials: Sequence[str],
    say: Callable[[str], None],
    env: Mapping[str, str] | None,
) -> Iterator[Measurement]:
    with as_footseg(), tempfile.TemporaryDirectory() as folder:
        devices, failures = _devices(serials, env)
        wanted = len(devices) + len(failures)
        if not devices:
            raise FootsegError(_together(failures, wanted))
        own = request.runner == "footseg" or request.data is not None
        kit = toolchain.prepare() if own else None
        job = PhoneJob(request, artifacts, _tasks(request, artifacts, Path(folder), say), kit)
        phones = [Phone(device, job, say) for device in devices]
        yield from _in_parallel(phones, failures)
        if failures:
            raise FootsegError(_together(failures, wanted))


def _tflite(path: Path) -> Artifact:
    found = artifact.load(path)
    if found.format != "tflite":
        raise FootsegError(
            f"{path} is no .tflite file, which is what runs on a phone: footseg export --to tflite"
        )
    cost.of_file(path)  # a file that is damaged is found before any phone is touched
    return found


def _check_tool(request: PhoneRequest) -> None:
    """Refuse a path that is neither a program for Arm here nor could be one on a phone."""
    tool = request.benchmark_model
    if tool and not tool.startswith("/") and not Path(tool).is_file():
        raise FootsegError(f"no such file: {tool} (a path on the phone begins with /data)")
    if tool and Path(tool).is_file() and not _is_for_arm(Path(tool)):
        raise FootsegError(f"{tool} is no program for Arm: take Google's benchmark_model for android_arm64")


def _is_for_arm(path: Path) -> bool:
    """Whether a file is a program of Arm's, or a script that starts one."""
    with path.open("rb") as file:
        head = file.read(20)
    return head.startswith(b"#!") or (head[:4] == b"\x7fELF" and head[18:20] in ARM)


def _devices(serials: Sequence[str], env: Mapping[str, str] | None) -> tuple[list[Device], list[str]]:
    """The phones that are meant and can be used, and why others that are meant cannot."""
    if not serials:
        return [adb.choose(env=env)], []
    wanted = [one.serial for one in adb.devices(env=env)] if ALL in serials else list(dict.fromkeys(serials))
    if not wanted:
        return [adb.choose(env=env)], []  # which says what to do where there is none
    devices, failures = [], []
    for serial in wanted:
        try:
            devices.append(adb.choose(serial, env=env))
        except HarnessError as error:
            failures.append(str(error))
    return devices, failures


def _tasks(
    request: PhoneRequest, artifacts: Sequence[Artifact], folder: Path, say: Callable[[str], None]
) -> tuple[Task | None, ...]:
    """What this machine makes of the images, for each file."""
    tasks: list[Task | None] = []
    for number, one in enumerate(artifacts):
        if request.data is None:
            tasks.append(None)
            continue
        say(f"{one.name}: masks on this machine")
        own = folder / str(number)
        own.mkdir()
        tasks.append(agreement.prepare(one.path, request.data, request.split, request.images, own))
    return tuple(tasks)


def _together(failures: Sequence[str], phones: int) -> str:
    if phones == 1:
        return failures[0]
    return f"{len(failures)} of {phones} phones could not be measured to the end: {' | '.join(failures)}"


# ---- several phones at once


def _in_parallel(phones: Sequence[Phone], failures: list[str]) -> Iterator[Measurement]:
    """The lines of all phones as they come; what fails on one is added to ``failures``."""
    said: queue.Queue[Measurement | BaseException | None] = queue.Queue()

    def work(one: Phone) -> None:
        try:
            for measurement in one.measure():
                said.put(measurement)
        except BaseException as error:
            said.put(error)
        finally:
            said.put(None)

    threads = [threading.Thread(target=work, args=(one,)) for one in phones]
    try:
        for thread in threads:
            thread.start()
        running = len(threads)
        while running:
            match said.get():
                case None:
                    running -= 1
                case FootsegError() as error:
                    failures.append(str(error))
                case BaseException() as error:
                    raise error
                case measurement:
                    yield measurement
    finally:  # also on Ctrl-C: each phone ends what it does and is cleaned up
        for one, thread in zip(phones, threads, strict=True):
            one.stop(thread)
