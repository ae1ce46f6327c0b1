"""The emulated core: counts of programs whose instructions are known, and outputs against this machine's."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from footseg import runtime
from footseg.android_harness import emulator, toolchain
from footseg.android_harness.emulator import CORES, Counts
from footseg.android_harness.errors import HarnessError
from footseg.android_harness.runner import Plan
from footseg.android_harness.toolchain import Kit
from tests import arm_graphs
from tests.arm_graphs import FLOAT, PIXELS, Numbers

TIMEOUT = 120


@pytest.fixture(scope="module")
def kit() -> Kit:
    return toolchain.prepare()


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return arm_graphs.convolution(tmp_path_factory.mktemp("graph") / "a.tflite", arm_graphs.random())


# ---- counting

# Each instruction with what it counts as: (vector, load_store, other, vector_load_store).
VECTOR, LOAD, OTHER, VECTOR_LOAD = (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 1, 0, 1)
INSTRUCTIONS = {
    "nop": OTHER,
    "add x2, x3, x4": OTHER,
    "mul x2, x3, x4": OTHER,
    "movz x2, #7": OTHER,
    "adr x2, .": OTHER,
    "crc32b w2, w3, w4": OTHER,
    "csel x2, x3, x4, eq": OTHER,
    "b .+4": OTHER,
    "cbz x2, .+4": OTHER,
    "mrs x2, tpidr_el0": OTHER,
    "dmb ish": OTHER,
    "ldr x2, [x10]": LOAD,
    "ldrb w2, [x10, x3]": LOAD,
    "str w2, [x10, #4]!": LOAD,
    "ldp x2, x3, [x10]": LOAD,
    "stp x2, x3, [x10], #16": LOAD,
    "ldaxr w2, [x10]": LOAD,
    "ldadd w2, w3, [x10]": LOAD,
    "ldr x2, .": LOAD,
    "prfm pldl1keep, [x10]": LOAD,
    "ldr q0, [x10]": VECTOR_LOAD,
    "str s0, [x10]": VECTOR_LOAD,
    "ldp q0, q1, [x10]": VECTOR_LOAD,
    "stp d0, d1, [x10]": VECTOR_LOAD,
    "ld1 {v0.4s, v1.4s}, [x10]": VECTOR_LOAD,
    "ld1r {v0.4s}, [x10]": VECTOR_LOAD,
    "st2 {v0.8h, v1.8h}, [x10]": VECTOR_LOAD,
    "ldr s0, .": VECTOR_LOAD,
    "fmla v0.4s, v1.4s, v2.s[1]": VECTOR,
    "fmul s0, s1, s2": VECTOR,
    "fmla v0.8h, v1.8h, v2.8h": VECTOR,
    "sdot v0.4s, v1.16b, v2.4b[0]": VECTOR,
    "smlal2 v0.4s, v1.8h, v2.8h": VECTOR,
    "sqrdmulh v0.4s, v1.4s, v2.4s": VECTOR,
    "tbl v0.16b, {v1.16b}, v2.16b": VECTOR,
    "fcvtns v0.4s, v1.4s": VECTOR,
    "fmov x2, d0": VECTOR,
    "dup v0.4s, w2": VECTOR,
    "movi v0.4s, #0": VECTOR,
    "aese v0.16b, v1.16b": VECTOR,
    # Scalable vectors are a group of their own, their loads and stores in it.
    "ptrue p0.s": VECTOR,
    "fmla z0.s, p0/m, z1.s, z2.s": VECTOR,
    "ld1w {z0.s}, p0/z, [x10]": VECTOR_LOAD,
    "st1w {z0.s}, p0, [x10]": VECTOR_LOAD,
    "ldr z0, [x10]": VECTOR_LOAD,
}
# 1000 times 2 vector instructions, 1 load, 1 vector store, and the 2 that make the loop; 1 before it.
LOOP = "mov x9, #1000\n1: fmla v0.4s, v1.4s, v2.4s\nfadd s3, s3, s4\nldr x2, [x10]\nstr q0, [x10]\n"
LOOP += "subs x9, x9, #1\nb.ne 1b"
# A mark is four instructions: three make the arguments, the last is the system call.
MARK = "mov x8, #172\nldr x0, ={magic}\nmov x1, #{which}\nsvc #0\n"
OF_MARK = Counts(vector=0, load_store=1, other=3, vector_load_store=0)
MAGIC = 0x666F6F74736567


def program(folder: Path, kit: Kit, regions: Sequence[str]) -> Kit:
    """A kit whose runner marks each of ``regions``, some assembly, and says what one of a model says."""
    body = ""
    for region in regions:
        marks = [MARK.format(magic=MAGIC, which=which) for which in (0, 1)]
        body += f"mov x9, sp\nldr x10, =room\nmov x3, #0\n{marks[0]}{region}\n{marks[1]}"
    source = f"""
.arch armv8.6-a+sve+fp16+crypto
.bss
.balign 64
room: .space 4096
.text
.global body
body: {body}
ret
.ltorg
"""
    shutil.copytree(kit.runner.parent, folder, symlinks=True)
    (folder / "body.s").write_text(source)
    answer = ({"load_ms": 1.0}, {"first_ms": 1.0}, {"samples_ms": [1.0]}, {"done": True})
    said = "".join(f"puts({json.dumps(f'@footseg {json.dumps(line)}')});" for line in answer)
    (folder / "main.c").write_text(f"#include <stdio.h>\nvoid body(void);\nint main() {{ body(); {said} }}\n")
    command = ["aarch64-linux-gnu-gcc", "-o", "runner", "main.c", "body.s", "-Wl,-z,notext", "-no-pie"]
    subprocess.run(command, cwd=folder, check=True)
    return dataclasses.replace(kit, runner=folder / "runner")


def test_every_kind_of_instruction_is_counted_as_what_it_is(kit: Kit, tmp_path: Path, graph: Path) -> None:
    marked = program(tmp_path / "kit", kit, [*INSTRUCTIONS, LOOP, ""])
    plan = Plan((str(graph),), runs=len(INSTRUCTIONS) + 2)
    _, counts = emulator.count(marked, "max", plan, timeout=TIMEOUT)
    found = {
        name: tuple(
            a - b for a, b in zip(dataclasses.astuple(one), dataclasses.astuple(OF_MARK), strict=True)
        )
        for name, one in zip([*INSTRUCTIONS, "loop", "nothing"], counts, strict=True)
    }
    assert found == {**INSTRUCTIONS, "loop": (2000, 2000, 2001, 1000), "nothing": (0, 0, 0, 0)}
    assert counts[-2].total == 6001 + OF_MARK.total


def test_counts_are_the_same_in_five_runs_and_from_any_folder(
    kit: Kit, graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    found = set()
    cores = os.sched_getaffinity(0)
    request.addfinalizer(lambda: os.sched_setaffinity(0, cores))
    for number in range(5):
        monkeypatch.setenv("NOISE", "x" * 1000 * number)
        os.sched_setaffinity(0, {min(cores)} if number == 2 else cores)
        folder = tmp_path / ("a folder with a long name " * number + "x")
        folder.mkdir()
        path = folder / "a network's file.tflite"
        shutil.copy(graph, path)
        _, counts = emulator.count(kit, "cortex-a76", Plan((str(path),), runs=3), timeout=TIMEOUT)
        found |= set(counts)
    # 1e-5 is asked for; without threads, and with nothing of this machine read, there is no difference.
    (count,) = found
    assert count.vector > 0
    assert count.load_store > count.vector_load_store > 0
    # 16 x 16 pixels, 27 weights, 2 classes, 4 at a time: so many multiplications at least.
    assert count.vector >= 16 * 16 * 27 * 2 / 4


def test_cores_choose_their_own_kernels(kit: Kit, tmp_path: Path) -> None:
    path = arm_graphs.convolution(
        tmp_path / "g.tflite", arm_graphs.random(classes=16, channels=16), numbers=PIXELS
    )
    totals = {}
    for core in ("cortex-a53", "cortex-a76"):
        _, (count,) = emulator.count(kit, core, Plan((str(path),), runs=1), timeout=TIMEOUT)
        totals[core] = count.vector
    # Dot products of 8-bit integers came with Armv8.2: four products and their sum in each lane at once.
    assert totals["cortex-a76"] < 0.5 * totals["cortex-a53"]


def test_more_than_one_thread_cannot_be_counted(kit: Kit, graph: Path) -> None:
    for plan in (Plan((str(graph),), threads=2, runs=1), Plan((str(graph),))):
        with pytest.raises(ValueError, match="counting needs 1 thread and 1 run or more"):
            emulator.count(kit, "cortex-a76", plan, timeout=TIMEOUT)


def test_a_program_that_marks_less_than_was_asked_for_is_found_out(
    kit: Kit, tmp_path: Path, graph: Path
) -> None:
    marked = program(tmp_path / "kit", kit, ["nop"])
    with pytest.raises(HarnessError, match="1 inferences were counted, not 2"):
        emulator.count(marked, "max", Plan((str(graph),), runs=2), timeout=TIMEOUT)


# ---- outputs


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize(
    ("numbers", "logits"), [(FLOAT, FLOAT), (PIXELS, Numbers(0.05, 3))], ids=["float", "int8"]
)
def test_outputs_are_those_of_this_machine(
    kit: Kit, tmp_path: Path, core: str, numbers: Numbers, logits: Numbers
) -> None:
    # More classes than a segmenter has, so that every core takes the kernels that it has for large ones.
    weights = arm_graphs.random(classes=40)
    path = arm_graphs.convolution(tmp_path / "g.tflite", weights, numbers=numbers, logits=logits)
    images = arm_graphs.pictures(3)
    images.tofile(tmp_path / "images")
    segmenter = runtime.TfliteSegmenter(path, threads=1)
    here = segmenter.logits(images)
    names = {name: str(tmp_path / name) for name in ("images", "masks", "outputs")}
    said = emulator.run(kit, core, Plan((str(path),), **names), timeout=TIMEOUT)  # type: ignore[arg-type]
    raw = np.fromfile(tmp_path / "outputs", said.outputs[0].type).reshape(here.shape)
    there = runtime._dequantize(raw, segmenter.output)
    # Sums of 27 products in another order: some units in the last place of values up to 5. Of integers one
    # step, where a half is rounded.
    assert np.abs(there - here).max() <= (0.05 if numbers.scale else 5e-6) * 1.001
    masks = np.fromfile(tmp_path / "masks", np.uint8).reshape(here.shape[:3])
    assert np.array_equal(masks, there.argmax(axis=-1))
    assert (masks == here.argmax(axis=-1)).mean() >= 0.9999


def test_no_time_and_no_memory_leaves_the_emulator(kit: Kit, graph: Path) -> None:
    plan = Plan((str(graph),), runs=2, profile=1, calibrate=True)
    said = emulator.run(kit, "cortex-a76", plan, timeout=TIMEOUT)
    assert (said.load_ms, said.first_ms, said.samples_ms, said.profile, said.gflops) == ((), (), (), (), ())
    assert said.peak_memory_mb is None
    assert said.litert == toolchain.litert_version()
    assert said.inputs[0].shape == (1, 16, 16, 3)
    assert said.fully_accelerated is True


# ---- the machine that programs see


@pytest.mark.parametrize("core", CORES)
def test_nothing_of_this_machine_is_read(kit: Kit, graph: Path, tmp_path: Path, core: str) -> None:
    root = emulator.sysroot(core, tmp_path)
    command = ["qemu-aarch64", "-strace", "-L", str(root), "-cpu", core, str(kit.loader), "--inhibit-cache"]
    command += ["--library-path", str(kit.runner.parent), str(kit.runner)]
    command += [f"--library={kit.library}", f"--model={graph}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=TIMEOUT)
    opened = re.findall(r'openat\(AT_FDCWD,"(/[^"]+)",\S*\) = \d', done.stderr)
    assert "/proc/cpuinfo" in opened
    assert f"/{emulator.SYSTEM}/possible" in opened
    ours = {str(graph), str(kit.library)} | {str(path) for path in kit.runner.parent.iterdir()}
    # Its own memory, which emulator.run leaves out.
    ours |= {"/proc/self/status"}
    assert {path for path in opened if not (root / path[1:]).exists()} <= ours


def test_a_core_without_a_third_cache_has_none(tmp_path: Path) -> None:
    root = emulator.sysroot("cortex-a53", tmp_path) / emulator.SYSTEM / "cpu0/cache"
    assert (root / "index2/size").read_text() == "512K\n"
    assert (root / "index3/size").read_text() == ""


def test_the_version_is_qemus() -> None:
    text = subprocess.run(["qemu-aarch64", "--version"], capture_output=True, text=True, check=True).stdout
    assert text.startswith(f"qemu-aarch64 version {emulator.version()} ")


# ---- failures


def test_an_unknown_core_is_refused(kit: Kit, graph: Path) -> None:
    with pytest.raises(ValueError, match="'cortex-x9' is not a core: cortex-a35, cortex-a53"):
        emulator.run(kit, "cortex-x9", Plan((str(graph),)), timeout=TIMEOUT)


def test_a_failure_of_the_runner_names_the_callers_files(kit: Kit, tmp_path: Path, graph: Path) -> None:
    path = tmp_path / "no model.tflite"
    path.write_text("this is no model at all")
    with pytest.raises(HarnessError, match=r"^\S*/no model.tflite is not a .tflite file") as caught:
        emulator.run(kit, "cortex-a76", Plan((str(path),)), timeout=TIMEOUT)
    assert caught.value.returncode == 1
    assert "-cpu" in caught.value.command
    arm_graphs.pictures(1).tofile(tmp_path / "images")
    plan = Plan((str(graph),), images=str(tmp_path / "images"), masks="/dev/full")
    with pytest.raises(HarnessError, match=r"^cannot write /dev/full: No space left on device$"):
        emulator.run(kit, "cortex-a76", plan, timeout=TIMEOUT)


def test_a_program_that_crashes_is_named(kit: Kit, tmp_path: Path, graph: Path) -> None:
    marked = program(tmp_path / "kit", kit, ["mov x2, #0\nldr x2, [x2]"])
    with pytest.raises(HarnessError, match="SIGSEGV"):
        emulator.run(marked, "cortex-a76", Plan((str(graph),)), timeout=TIMEOUT)


def test_a_program_that_does_not_end_is_ended(kit: Kit, tmp_path: Path, graph: Path) -> None:
    marked = program(tmp_path / "kit", kit, ["b ."])
    with pytest.raises(HarnessError, match=r"did not end within 0\.5 s and was stopped"):
        emulator.run(marked, "cortex-a76", Plan((str(graph),)), timeout=0.5)
    left = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(marked.runner) not in left


def test_without_qemu_its_package_is_named(
    kit: Kit, graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for call in (
        emulator.version,
        lambda: emulator.run(kit, "cortex-a76", Plan((str(graph),)), timeout=TIMEOUT),
    ):
        with pytest.raises(HarnessError, match=r"qemu-aarch64 not found: make arm \(.*qemu-user\)"):
            call()
