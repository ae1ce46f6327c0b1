"""One phone: what is asked of it, file after file, in a folder of ours that does not outlive it."""

import contextlib
import dataclasses
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from footseg import comparison
from footseg.android_harness import energy, heat, phone
from footseg.android_harness.adb import Device
from footseg.android_harness.conditions import Conditions, conditions, unusable
from footseg.android_harness.errors import HarnessError
from footseg.android_harness.runner import Said
from footseg.android_harness.session import Session, session
from footseg.benchmarks.agreement import Task
from footseg.benchmarks.android.request import PhoneJob
from footseg.benchmarks.android.runners import RUNNERS, OwnRunner, Pushed, Runner, Timed, Work
from footseg.benchmarks.harness import as_footseg
from footseg.benchmarks.measurement import Agreement, Energy, Measurement, Relative

ABI = "arm64-v8a"
# Seconds for which a phone that did not cool down in time is waited for again.
STILL_HOT_SECONDS = 60.0
# Seconds between two looks whether a phone that was told to stop has done so.
STOP_SECONDS = 1.0


@dataclass(frozen=True)
class _Bench:
    """What files are measured with on one phone; ``images`` is None where no accuracy is asked for."""

    facts: phone.PhoneFacts
    cores: tuple[int, ...]
    runner: Runner
    images: OwnRunner | None
    baseline: Pushed


class Phone:
    """One phone, and what is done on it."""

    def __init__(self, device: Device, job: PhoneJob, say: Callable[[str], None]) -> None:
        self.device, self.job, self._say = device, job, say
        self._stopped = threading.Event()
        self._session: Session | None = None
        self._cool_limit_s = job.request.cool_limit_s
        # Our plain names on the phone, and the files' own, for messages.
        self._names: dict[str, str] = {}

    def stop(self, thread: threading.Thread) -> None:
        """End the measuring in ``thread``, and wait until the phone is cleaned up."""
        self._stopped.set()
        while thread.is_alive():
            if self._session is not None:
                with contextlib.suppress(HarnessError):  # it is gone: the thread finds out by itself
                    self._session.stop()
            thread.join(STOP_SECONDS)

    def measure(self) -> Iterator[Measurement]:
        """Measure all files.

        Raises:
            FootsegError: something on this phone is not as it should be; its serial is named.
        """
        with as_footseg(self.device.serial, self._names):
            facts = phone.facts(self.device)
            if self.job.kit is not None and facts.abi not in (ABI, None):
                raise HarnessError(
                    f"{facts.name} runs {facts.abi} programs, footseg's runner is one for {ABI}: time it "
                    "with --runner benchmark_model and without --data"
                )
            pin = self.job.request.pin
            cores = phone.parse_pin(pin, facts) if pin else ()
            self._tell(f"{facts.name}, pushing what is needed")
            with session(self.device, self.job.kit, self._tell) as opened:
                self._session = opened
                yield from self._files(opened, facts, cores)

    def _files(
        self, opened: Session, facts: phone.PhoneFacts, cores: tuple[int, ...]
    ) -> Iterator[Measurement]:
        bench = _Bench(
            facts,
            cores,
            RUNNERS[self.job.request.runner].on(opened, self.job, cores),
            OwnRunner(opened, self.job.request, cores, "") if self.job.kit else None,
            self._push(opened, self.job.baseline),
        )
        for number, task in enumerate(self.job.tasks):
            again = number == self.job.baseline
            file = bench.baseline if again else self._push(opened, number)
            yield self._file(bench, file, task)
            if not again:
                self.device.remove(file.remote)

    def _push(self, opened: Session, number: int) -> Pushed:
        one = self.job.artifacts[number]
        name = f"model{number}.tflite"
        self._names[opened.remote(name)] = str(one.path)
        return Pushed(one, opened.push(one.path, name))

    def _file(self, bench: "_Bench", file: Pushed, task: Task | None) -> Measurement:
        """One line: one file on this phone."""
        cooled = self._cool()
        if why := unusable(bench.cores, cooled.conditions):
            raise HarnessError(f"{' and '.join(why)}: choose others with --pin")
        self._tell(f"{file.artifact.name}, latency")
        timed = bench.runner.time(file)
        after = conditions(self.device)
        # Means of processes begin anew each time: drift is sought in inferences of one process only.
        samples = timed.latency.samples_ms if timed.latency.runs_per_sample == 1 else ()
        reasons = heat.throttled(cooled.conditions, after, samples, bench.cores)
        held = heat.summary(cooled.conditions, after, reasons=reasons, pinned=bench.cores, cooled=cooled)
        relative = self._compare(bench, file)
        fuel, no_fuel = self._energy(bench, file, timed, after)
        agreed = self._masks(bench.images, file, task) if bench.images and task else None
        by_own = "accuracy is that of footseg's own runner, on the processor with XNNPACK"
        threads = self.job.request.threads
        share = "one core" if len(bench.cores) == 1 else f"{len(bench.cores)} cores"
        crowded = f"{threads} threads share {share}"
        notes = [
            *([crowded] if 0 < len(bench.cores) < threads else []),
            *timed.notes,
            *no_fuel,
            *([by_own] if agreed and not isinstance(bench.runner, OwnRunner) else []),
        ]
        measured = Measurement.of_file(
            file.artifact,
            kind="measured",
            device=bench.facts.device() | {"clusters": [list(c.cores) for c in bench.facts.clusters]},
            runtime=bench.runner.runtime,
            runtime_version=bench.runner.version,
            threads=threads,
            latency=timed.latency,
            cold_start=timed.cold_start,
            peak_memory_mb=timed.peak_memory_mb,
            relative=relative,
            profile=timed.profile,
            agreement=agreed,
            energy=fuel,
            conditions=held | {"notes": [*held["notes"], *notes]},
        )
        calibration = timed.calibration(measured.cost["macs"], threads)
        return dataclasses.replace(measured, calibration=calibration)

    def _cool(self) -> heat.Cooled:
        limit_s = self._cool_limit_s if self.job.request.cool else 0.0
        cooled = heat.wait_until_cool(self.device, limit_s=limit_s, say=self._tell, sleep=self._sleep)
        if cooled.cool is False:  # nor will it for the next file
            self._cool_limit_s = min(limit_s, STILL_HOT_SECONDS)
        return cooled

    def _compare(self, bench: "_Bench", file: Pushed) -> Relative | None:
        if len(self.job.artifacts) < 2:
            return None
        confidence, to = self.job.request.confidence, bench.baseline.artifact
        starts = [[1.0]] * comparison.fewest_starts(confidence)  # the baseline over itself
        if file is not bench.baseline:
            self._tell(f"{file.artifact.name}, in turns with {to.name}")
            starts = bench.runner.in_turns(file, bench.baseline)
        return Relative.of(to, starts, confidence)

    def _energy(
        self, bench: "_Bench", file: Pushed, timed: Timed, now: Conditions
    ) -> tuple[Energy | None, list[str]]:
        """Energy, or why there is none."""
        request = self.job.request
        if not request.energy:
            return None, []
        if why := energy.powered(now):
            return None, [why]
        gauge = energy.find_gauge(self.device)
        if gauge is None:
            return None, ["no energy: the phone has no fuel gauge that adb's user may read"]
        self._tell(f"{file.artifact.name}, energy")
        work = Work(request.idle_s, request.energy_s, timed.latency.median_ms)
        found = bench.runner.energy(file, gauge, now, work)
        if found.millijoules is None:
            return None, [found.note]
        return Energy(found.millijoules, found.seconds, found.note), []

    def _masks(self, images: OwnRunner, file: Pushed, task: Task) -> Agreement:
        """Push the images in parts, pull their masks, and score them."""
        self._tell(f"{file.artifact.name}, {len(task.names)} images")
        scale, zero_point = task.input
        masks = np.empty(task.masks.shape, np.uint8)
        with tempfile.TemporaryDirectory() as folder, _pushed_images(images.session) as remote:
            raw = Path(folder) / "raw"

            def run(pixels: np.ndarray, out: str) -> Said:
                """Let the runner write ``out``, "masks" or "outputs", and pull it into ``raw``."""
                pixels.tofile(raw)
                images.session.push(raw, "images")
                options = {"images": remote("images"), out: remote(out)}
                said = images.images(file, scale=scale, zero_point=zero_point, **options)
                images.session.pull(out, raw)
                return said

            for part in task.parts:
                run(task.images[part], "masks")
                masks[part] = np.fromfile(raw, np.uint8).reshape(masks[part].shape)
            said = run(task.images[: len(task.values)], "outputs")
            values = np.fromfile(raw, said.outputs[0].type).reshape(task.values.shape)
        return task.agreement(masks, values)

    def _tell(self, line: str) -> None:
        """Say what comes next, unless nothing more is to come."""
        if self._stopped.is_set():
            raise HarnessError("stopped")
        self._say(f"{self.device.serial}: {line}")

    def _sleep(self, seconds: float) -> None:
        self._stopped.wait(seconds)
        if self._stopped.is_set():
            raise HarnessError("stopped")


@contextmanager
def _pushed_images(opened: Session) -> Iterator[Callable[[str], str]]:
    """Paths for images and what is made of them, which are removed at the end."""
    yield opened.remote
    for name in ("images", "masks", "outputs"):
        opened.remove(name)
