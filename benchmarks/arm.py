"""Files on an emulated Arm core: what they compute there, against this machine, and in how many instructions.

There is no time in these lines: an emulator's says nothing of a processor's. Instructions say how much work a
core has, and which kernels the runtime chose for it; how fast it does them depends on the core.
"""

import dataclasses
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from footseg import artifact, provenance
from footseg.android_harness import emulator, runner, toolchain
from footseg.android_harness.emulator import Counts
from footseg.artifact import Artifact
from footseg.benchmarks import agreement
from footseg.benchmarks.agreement import Task
from footseg.benchmarks.harness import as_footseg
from footseg.benchmarks.measurement import Instructions, Measurement
from footseg.errors import FootsegError, did_you_mean

CORE = "cortex-a76"
# Seconds that one start may take, and more for each of its inferences: a FastLinkNet of 256x256 takes 1 of
# them here, and the slowest network that anyone has in mind a hundred times as much.
START_SECONDS = 300
INFERENCE_SECONDS = 300


def measure_all(
    paths: Sequence[Path],
    cores: Sequence[str] = (CORE,),
    *,
    data: Path | None = None,
    split: str = "test",
    images: int = 8,
    inferences: int = 3,
    seed: int = 0,
) -> Iterator[Measurement]:
    """Run each file on each emulated core: one measurement for each pair, as soon as it is complete.

    Args:
        paths: .tflite files.
        cores: of ``footseg.android_harness.emulator.CORES``.
        data: folder of a data set whose images are compared; None: noise.
        split: "train", "val" or "test".
        images: so many, evenly spaced; 0 for all of the split.
        inferences: whose instructions are counted, 1 or more.
        seed: of the noise.

    Raises:
        FootsegError: a file is no .tflite or cannot be run, an unknown core, a tool is missing (``make arm``
            installs it), the data cannot be used.
        ValueError: fewer inferences than one, or fewer images than there can be.
    """
    if inferences < 1:
        raise ValueError(f"inferences must be 1 or more, not {inferences}")
    cores = tuple(dict.fromkeys(map(_core, cores)))
    artifacts = [_tflite(path) for path in paths]
    kit, version = tools()

    def task(path: Path, folder: Path) -> Task:
        if data is None:
            return agreement.prepare_noise(path, images, seed, folder)
        return agreement.prepare(path, data, split, images, folder)

    return _measured(kit, version, artifacts, cores, task, inferences)


def _measured(
    kit: toolchain.Kit,
    version: str,
    artifacts: Sequence[Artifact],
    cores: Sequence[str],
    task_of: Callable[[Path, Path], Task],
    inferences: int,
) -> Iterator[Measurement]:
    with (
        tempfile.TemporaryDirectory(prefix="footseg-arm-") as temporary,
        tqdm(total=len(artifacts) * len(cores), desc="arm", unit="run", disable=None) as bar,
    ):
        folder = Path(temporary)
        for facts in artifacts:
            task = task_of(facts.path, folder)
            # Packing a file takes a second: what follows from the file is the same on every core.
            plain = Measurement.of_file(
                facts,
                kind="emulated",
                device={"cores": 1, "architecture": "aarch64", "system": f"QEMU {version} user mode"},
                runtime="LiteRT",
                runtime_version=kit.litert_version,
                threads=1,
            )
            for core in cores:
                bar.set_postfix_str(f"{facts.name} on {core}")
                yield dataclasses.replace(
                    plain,
                    created=provenance.now(),
                    device={"cpu": f"emulated {emulator.CORES[core].title}", **plain.device},
                    **_run(kit, core, facts, task, inferences, folder),
                )
                bar.update()


def tools() -> tuple[toolchain.Kit, str]:
    """The runner, made if it is not there yet, and QEMU's version.

    Raises:
        FootsegError: a tool is missing (``make arm`` installs it), or LiteRT cannot be downloaded.
    """
    with as_footseg():
        toolchain.require(*(need.name for need in toolchain.needs() if need.name != "adb"))
        return toolchain.prepare(), emulator.version()


def _core(name: str) -> str:
    """A core that can be emulated; a53 is cortex-a53."""
    for full in (name, f"cortex-{name}"):
        if full in emulator.CORES:
            return full
    raise FootsegError(f"no core {name!r} can be emulated: {did_you_mean(name, emulator.CORES)}")


def instructions(core: str, counts: Sequence[Counts]) -> Instructions:
    """Of the inferences counted the one in the middle, and how far they lie apart."""
    totals = [count.total for count in counts]
    middle = counts[totals.index(statistics.median_low(totals))]
    return Instructions(
        core=core,
        samples=tuple(totals),
        total=middle.total,
        vector=middle.vector,
        load_store=middle.load_store,
        other=middle.other,
        spread=(max(totals) - min(totals)) / middle.total,
    )


def _tflite(path: Path) -> Artifact:
    facts = artifact.load(path)
    if facts.format != "tflite":
        raise FootsegError(
            f"{path} is no .tflite file, and no other runs on the emulated core: export it as .tflite, or "
            "measure it here (footseg bench FILE --on host)"
        )
    return facts


def _run(
    kit: toolchain.Kit, core: str, facts: Artifact, task: Task, inferences: int, folder: Path
) -> dict[str, Any]:
    """The instructions and the agreement of one file on one core, from one start of the runner."""
    pixels, masks, outputs = (folder / name for name in ("images", "masks", "outputs"))
    task.images.tofile(pixels)
    scale, zero_point = task.input
    plan = runner.Plan(
        models=(str(facts.path),),
        runs=inferences,
        images=str(pixels),
        masks=str(masks),
        outputs=str(outputs),
        scale=scale,
        zero_point=zero_point,
    )
    timeout = START_SECONDS + INFERENCE_SECONDS * (inferences + len(task.images))
    with as_footseg(f"{facts.path} on an emulated {core}"):
        said, counts = emulator.count(kit, core, plan, timeout=timeout)
    values = np.fromfile(outputs, said.outputs[0].type, task.values.size).reshape(task.values.shape)
    there = np.fromfile(masks, np.uint8).reshape(task.masks.shape)
    return {"instructions": instructions(core, counts), "agreement": task.agreement(there, values)}
