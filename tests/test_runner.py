"""The native runner, compiled for this machine: what it is told, computes, says, and how it fails."""

import dataclasses
import importlib.util
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from footseg import runtime
from footseg.android_harness import toolchain
from footseg.android_harness.errors import HarnessError
from footseg.android_harness.runner import MARK, Plan, Said, TensorFacts, arguments, check, parse
from tests import arm_graphs
from tests.arm_graphs import FLOAT, PIXELS, Numbers

Run = Callable[[Plan], "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runner for this machine's own processor, which LiteRT's Python package has a library for, too."""
    out = tmp_path_factory.mktemp("native") / "runner"
    flags = ("-O3", "-march=native", "-Wall", "-Wextra", "-Werror", "-lm", "-ldl")
    return toolchain.compile_c("gcc", toolchain.SOURCES / "runner.c", out, flags)


@pytest.fixture(scope="module")
def litert() -> str:
    found = importlib.util.find_spec("ai_edge_litert")
    assert found and found.origin
    return str(Path(found.origin).with_name("libLiteRt.so"))


@pytest.fixture
def run(native: Path, litert: str) -> Run:
    def run(plan: Plan, library: str = litert) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [str(native), *arguments(plan, library)], check=False, capture_output=True, text=True, timeout=60
        )

    return run


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(arm_graphs.convolution(tmp_path_factory.mktemp("graph") / "a.tflite", arm_graphs.random()))


def error_of(done: "subprocess.CompletedProcess[str]") -> str:
    """The one line that a failing runner says, which is the same on stderr and in its answer."""
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("footseg-runner: ")]
    assert done.stderr.endswith(line + "\n")
    with pytest.raises(HarnessError) as caught:
        parse(done.stdout)
    assert str(caught.value) == line.removeprefix("footseg-runner: ")
    return str(caught.value)


# ---- what it is told


def test_arguments_of_a_plan() -> None:
    plan = Plan(
        ("a b.tflite", "c.tflite"), threads=2, rounds=3, images="i", masks="m", scale=1 / 255,
        zero_point=-128, calibrate=True, pin=(4, 5),
    )  # fmt: skip
    assert arguments(plan, "/x/libLiteRt.so") == [
        "--library=/x/libLiteRt.so", "--model=a b.tflite", "--model=c.tflite", "--threads=2", "--rounds=3",
        "--turn=6", "--images=i", "--masks=m", "--zero-point=-128", "--calibrate=1",
        "--scale=0.00392156862745098", "--pin=4,5",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"models": ()}, "at least one model"),
        ({"threads": 0}, "threads must be 1 or more, got 0"),
        ({"runs": -1}, "runs must be 0 or more, got -1"),
        ({"rounds": 3}, "two models or more"),
        ({"models": ("a", "b"), "rounds": 3, "runs": 1}, "give one of them"),
        ({"models": ("a", "b"), "rounds": 3, "turn": 1}, "2 inferences or more"),
        ({"masks": "m"}, "give images"),
        ({"scale": float("nan")}, "scale must be"),
        ({"pin": (-1,)}, "numbered from 0"),
    ],
)
def test_plans_that_make_no_sense(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        dataclasses.replace(Plan(("a",)), **wrong)  # type: ignore[arg-type]


# ---- what is read of its answer


ANSWER = """\
@footseg {"cores": [0, 1]}
@footseg {"load_ms": 5.5}
@footseg {"first_ms": 2.25}
@footseg {"input": {"name": "image", "type": "int8", "shape": [1, 2, 2, 3], "scale": 0.5, "zero_point": -1}}
@footseg {"fully_accelerated": true}
@footseg {"gflops": 30.5}
@footseg {"samples_ms": [1.0, 2.5]}
@footseg {"operator": ["Add (ND)", 7]}
@footseg {"operator": ["Add (ND)", 8]}
@footseg {"gflops": 31.0}
@footseg {"images": 4}
@footseg {"peak_memory_mb": 12.5}
@footseg {"done": true}
"""


@pytest.mark.parametrize(
    "answer",
    [
        ANSWER,
        ANSWER.replace("\n", "\r\n"),
        f"* daemon started *\n{{}}\n{ANSWER}logout\n",
        ANSWER.replace("@footseg", "INFO: Created delegate.\nWARNING: half a line @footseg"),
    ],
    ids=["plain", "terminal", "shell", "driver"],
)
def test_the_answer_is_found_in_noise(answer: str) -> None:
    assert parse(answer) == Said(
        litert="",
        inputs=(TensorFacts("image", "int8", (1, 2, 2, 3), 0.5, -1),),
        outputs=(),
        load_ms=(5.5,),
        first_ms=(2.25,),
        samples_ms=((1.0, 2.5),),
        images=4,
        peak_memory_mb=12.5,
        profile=(("Add (ND)", 7), ("Add (ND)", 8)),
        gflops=(30.5, 31.0),
        cores=(0, 1),
        fully_accelerated=True,
    )


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (ANSWER.replace('@footseg {"done": true}', "Killed"), "its end; the last it said: Killed"),
        ("", "its end; the last it said: nothing"),
        (ANSWER.replace("[1.0, 2.5]", "[1.0, 2.\x00"), "a line of the runner is spoilt"),
        ('@footseg {"error": "no space"}\n', "^no space$"),
    ],
)  # fmt: skip
def test_answers_that_are_none(answer: str, said: str) -> None:
    with pytest.raises(HarnessError, match=said):
        parse(answer)


# ---- what it computes


@pytest.mark.parametrize(
    ("weights", "numbers", "logits"),
    [
        (arm_graphs.identity(), FLOAT, FLOAT),
        (arm_graphs.identity(), PIXELS, PIXELS),
        (arm_graphs.random(), FLOAT, FLOAT),
        (arm_graphs.random(classes=4), PIXELS, Numbers(0.05, 3)),
    ],
    ids=["pixels as float", "pixels as int8", "float", "int8"],
)
def test_outputs_and_masks_are_those_of_python(
    run: Run, tmp_path: Path, weights: np.ndarray, numbers: Numbers, logits: Numbers
) -> None:
    path = arm_graphs.convolution(tmp_path / "g.tflite", weights, numbers=numbers, logits=logits)
    images = arm_graphs.pictures(3)
    images.tofile(tmp_path / "images")
    segmenter = runtime.TfliteSegmenter(path, threads=1)
    here = segmenter.logits(images)
    plan = Plan((str(path),), images=str(tmp_path / "images"), masks=str(tmp_path / "masks"))
    plan = dataclasses.replace(plan, outputs=str(tmp_path / "outputs"))
    if numbers.scale:
        scale, zero_point = segmenter.input["quantization"]
        plan = dataclasses.replace(plan, scale=scale, zero_point=zero_point)
    said = parse(run(plan).stdout)
    assert said.images == 3
    assert said.inputs[0].shape == (1, 16, 16, 3)
    assert said.outputs[0].type == ("int8" if numbers.scale else "float32")
    # The same library, kernels and bits: nothing may differ.
    raw = np.fromfile(tmp_path / "outputs", said.outputs[0].type).reshape(here.shape)
    there = runtime._dequantize(raw, segmenter.output)
    assert np.array_equal(there, here)
    masks = np.fromfile(tmp_path / "masks", np.uint8).reshape(here.shape[:3])
    assert np.array_equal(masks, here.argmax(axis=-1))


def test_pixels_reach_the_network_bit_for_bit(run: Run, tmp_path: Path) -> None:
    path = arm_graphs.convolution(tmp_path / "g.tflite", arm_graphs.identity())
    images = arm_graphs.pictures(1)
    assert set(images.ravel()) == set(range(256))
    images.tofile(tmp_path / "images")
    run(Plan((str(path),), images=str(tmp_path / "images"), outputs=str(tmp_path / "outputs")))
    assert np.array_equal(np.fromfile(tmp_path / "outputs", np.float32), runtime.to_float(images).ravel())


def test_integers_take_the_scale_of_the_plan_or_else_of_the_file(run: Run, tmp_path: Path) -> None:
    path = arm_graphs.convolution(tmp_path / "g.tflite", arm_graphs.identity(), numbers=PIXELS)
    images = np.full((1, 16, 16, 3), 100, np.uint8)
    images.tofile(tmp_path / "images")
    plan = Plan((str(path),), images=str(tmp_path / "images"), outputs=str(tmp_path / "outputs"))
    run(plan)
    assert set(np.fromfile(tmp_path / "outputs", np.int8)) == {100 - 128}
    # 100 / 255 / 0.02 = 19.6, so 20, less 5.
    run(dataclasses.replace(plan, scale=0.02, zero_point=-5))
    assert set(np.fromfile(tmp_path / "outputs", np.int8)) == {15}
    # 100 / 255 / 0.001 = 392 is beyond int8.
    run(dataclasses.replace(plan, scale=0.001))
    assert set(np.fromfile(tmp_path / "outputs", np.int8)) == {127}


def test_of_equal_logits_the_first_is_the_mask(run: Run, tmp_path: Path) -> None:
    weights = np.zeros((4, 1, 1, 3))
    weights[1] = weights[2] = 1  # equal and above the two others, wherever a pixel is not black
    path = arm_graphs.convolution(tmp_path / "g.tflite", weights)
    images = np.zeros((1, 16, 16, 3), np.uint8)
    images[:, :, 8:] = 200
    images.tofile(tmp_path / "images")
    run(Plan((str(path),), images=str(tmp_path / "images"), masks=str(tmp_path / "masks")))
    masks = np.fromfile(tmp_path / "masks", np.uint8).reshape(16, 16)
    assert (masks[:, :8] == 0).all()
    assert (masks[:, 8:] == 1).all()


# ---- what it times


def test_everything_at_once(run: Run, graph: str) -> None:
    cores = sorted(os.sched_getaffinity(0))
    plan = Plan((graph,), warmup=2, runs=5, profile=3, calibrate=True, pin=(cores[-1],))
    said = parse(run(plan).stdout)
    assert [len(samples) for samples in said.samples_ms] == [5]
    assert len(said.load_ms) == len(said.first_ms) == 1
    times = (*said.load_ms, *said.first_ms, *said.samples_ms[0])
    assert all(0 < time < 10_000 for time in times)
    assert said.cores == (cores[-1],)
    assert said.fully_accelerated is True
    # One convolution, so three profiled inferences are three operators of one name.
    assert len(said.profile) == 3
    assert len({name for name, _ in said.profile}) == 1
    assert "Conv" in said.profile[0][0]
    assert said.peak_memory_mb is not None
    assert 0.1 < said.peak_memory_mb < 100
    # Any processor with vectors does 1 GFLOP/s; this loop is at 9 tenths of the peak of those tried.
    assert len(said.gflops) == 2
    assert min(said.gflops) > 1


STUB = r"""
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
typedef struct { int32_t type; uint8_t rank, pad[3]; int32_t sizes[8]; uint32_t strides[8]; } Type;
static float memory[4096];
static char names[64]; /* the address of names[k] stands for file k, with the profiler for k + 32 */
static int files;
static bool profile;
static void say(const char *text) { FILE *f = fopen(getenv("STUB_LOG"), "a"); fputs(text, f); fclose(f); }
static int status(const char *name) { char *f = getenv("STUB_FAIL"); return f && !strcmp(f, name) ? 7 : 0; }
#define OK(name, arguments, ...) int LiteRt##name arguments { __VA_ARGS__; return status(#name); }
OK(CreateEnvironment, (int n, const void *o, void **out), *out = names)
OK(CreateModelFromFile, (void *e, const char *path, void **out), *out = names + files++)
OK(GetModelSignature, (void *m, size_t i, void **out), *out = m)
OK(GetNumSignatureInputs, (void *s, size_t *n), *n = 1)
OK(GetNumSignatureOutputs, (void *s, size_t *n), *n = 1)
OK(GetSignatureInputName, (void *s, size_t i, const char **out), *out = "in \"1\"")
OK(GetSignatureOutputName, (void *s, size_t i, const char **out), *out = "out")
OK(GetSignatureInputTensorByIndex, (void *s, size_t i, void **out), *out = s)
OK(GetSignatureOutputTensorByIndex, (void *s, size_t i, void **out), *out = s)
OK(GetRankedTensorType, (void *t, Type *out), *out = ((Type){1, 0x84, {0}, {1, 4, 4, 3}, {0}}))
OK(GetQuantizationTypeId, (void *t, int *out), *out = 0)
OK(GetPerTensorQuantization, (void *t, void *out), )
OK(CreateOptions, (void **out), *out = names)
OK(SetOptionsHardwareAccelerators, (void *o, int a), )
OK(CreateOpaqueOptions, (const char *id, char *text, void (*d)(void *), void **out),
   say(id); say(":"); say(text); profile = !strcmp(id, "runtime_options_string"); *out = names)
OK(AddOpaqueOptions, (void *o, void *x), )
OK(CreateCompiledModel, (void *e, char *m, void *o, void **out), *out = m + (profile ? 32 : 0))
OK(GetCompiledModelInputBufferRequirements, (void *c, size_t s, size_t i, void **out), *out = names)
OK(GetCompiledModelOutputBufferRequirements, (void *c, size_t s, size_t i, void **out), *out = names)
OK(CreateManagedTensorBufferFromRequirements, (void *e, const Type *t, void *r, void **out), *out = memory)
OK(GetTensorBufferPackedSize, (void *b, size_t *out), *out = 4 * 4 * 3 * sizeof(float))
OK(LockTensorBuffer, (void *b, void **out, int mode), *out = memory)
OK(UnlockTensorBuffer, (void *b), )
OK(RunCompiledModel, (char *c, size_t s, size_t n, void **in, size_t m, void **out),
   long k = c - names; char text[2] = {k < 32 ? 'A' + k : 'p', 0}; say(text))
OK(CompiledModelIsFullyAccelerated, (void *c, bool *out), *out = false)
OK(CompiledModelGetProfiler, (void *c, void **out), *out = c)
OK(StartProfiler, (void *p), say("<"))
OK(StopProfiler, (void *p), say(">"))
OK(ResetProfiler, (void *p), )
OK(GetNumProfilerEvents, (void *p, int *out), *out = 0)
OK(GetProfilerEvents, (void *p, int n, void *out), )
"""


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LiteRT that only writes down what is asked of it."""
    folder = tmp_path_factory.mktemp("stub")
    (folder / "stub.c").write_text(STUB)
    flags = ("-shared", "-fPIC", "-w")
    return toolchain.compile_c("gcc", folder / "stub.c", folder / "libLiteRt.so", flags)


@pytest.mark.parametrize(
    ("plan", "asked"),
    [
        # The first inference of each file as it is loaded, warm-up of each, then the turns A B, B A, A B.
        ({"models": "AB", "warmup": 1, "rounds": 3, "turn": 2}, "AB AB AABB BBAA AABB"),
        ({"models": "ABC", "rounds": 2, "turn": 2}, "ABC AABBCC CCBBAA"),
        ({"models": "AB", "runs": 3, "warmup": 2}, "AB AABB AAABBB"),
        # A second copy of the first file is profiled, after one inference that is not.
        ({"models": "AB", "runs": 1, "profile": 2}, "AB AB p<p><p>"),
        ({"models": "A"}, "A"),
    ],
)
def test_inferences_in_the_order_of_the_plan(
    run: Callable[..., "subprocess.CompletedProcess[str]"],
    graph: str, stub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    plan: dict[str, object], asked: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("STUB_LOG", str(tmp_path / "log"))
    models = (graph,) * len(str(plan.pop("models")))
    made = dataclasses.replace(Plan(models, threads=3), **plan)  # type: ignore[arg-type]
    said = parse(run(made, str(stub)).stdout)
    lines = (tmp_path / "log").read_text().splitlines()
    assert {line for line in lines if line.startswith("xnnpack:")} <= {"xnnpack:num_threads = 3"}
    text = "".join(lines).replace("xnnpack:num_threads = 3", "")
    text = text.replace("runtime_options_string:enable_profiling = true", "")
    assert text == asked.replace(" ", "")
    timed = [len(samples) for samples in said.samples_ms]
    assert timed == ([made.rounds or made.runs] * len(models) if made.rounds or made.runs else [])
    assert said.inputs == (TensorFacts('in "1"', "float32", (1, 4, 4, 3)),)
    assert said.fully_accelerated is False


@pytest.mark.parametrize(
    "name", ["CreateEnvironment", "CreateModelFromFile", "CreateCompiledModel", "RunCompiledModel"]
)
def test_a_step_of_litert_that_fails_is_named(
    run: Callable[..., "subprocess.CompletedProcess[str]"],
    graph: str, stub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("STUB_LOG", str(tmp_path / "log"))
    monkeypatch.setenv("STUB_FAIL", name)
    said = error_of(run(Plan((graph,)), str(stub)))
    assert "status 7" in said
    assert (str(stub) if name == "CreateEnvironment" else graph) in said


# ---- how it fails


def test_files_that_cannot_be_run(run: Run, tmp_path: Path, graph: str) -> None:
    assert "No such file" in error_of(run(Plan((str(tmp_path / "none.tflite"),))))
    (tmp_path / "text.tflite").write_text("this is no model at all")
    assert "is not a .tflite file" in error_of(run(Plan((str(tmp_path / "text.tflite"),))))
    # Cut where LiteRT finds no graph; what cut weights would be is for the checks of footseg.runtime.
    (tmp_path / 'cut "short".tflite').write_bytes(Path(graph).read_bytes()[:64])
    assert 'cut "short".tflite' in error_of(run(Plan((str(tmp_path / 'cut "short".tflite'),))))


def test_networks_that_take_no_image(run: Run, tmp_path: Path) -> None:
    arm_graphs.pictures(1).tofile(tmp_path / "images")
    grey = arm_graphs.convolution(tmp_path / "grey.tflite", arm_graphs.random(channels=1))
    plan = Plan((str(grey),), images=str(tmp_path / "images"))
    assert "does not take one image (1, H, W, 3)" in error_of(run(plan))
    assert parse(run(dataclasses.replace(plan, images="", runs=2)).stdout).samples_ms


def test_files_of_images_that_do_not_fit(run: Run, tmp_path: Path, graph: str) -> None:
    plan = Plan((graph,), images=str(tmp_path / "images"), masks=str(tmp_path / "masks"))
    assert "No such file" in error_of(run(plan))
    (tmp_path / "images").write_bytes(bytes(16 * 16 * 3 * 2 - 1))
    assert "has 1535 bytes: that is no whole number of images of 16 x 16 x 3" in error_of(run(plan))
    (tmp_path / "images").write_bytes(b"")
    assert "has 0 bytes" in error_of(run(plan))


def test_a_disk_that_is_full(run: Run, tmp_path: Path, graph: str) -> None:
    arm_graphs.pictures(2).tofile(tmp_path / "images")
    for name in ("masks", "outputs"):
        plan = dataclasses.replace(Plan((graph,), images=str(tmp_path / "images")), **{name: "/dev/full"})
        assert error_of(run(plan)) == "cannot write /dev/full: No space left on device"
    plan = Plan((graph,), images=str(tmp_path / "images"), masks=str(tmp_path / "none" / "masks"))
    assert "No such file" in error_of(run(plan))


def test_scales_that_are_not_the_files(run: Run, tmp_path: Path, graph: str) -> None:
    arm_graphs.pictures(1).tofile(tmp_path / "images")
    plan = Plan((graph,), images=str(tmp_path / "images"), scale=0.5)
    assert "takes float32, and its scale is 0" in error_of(run(plan))


def test_words_it_does_not_know(native: Path, litert: str, graph: str, run: Run) -> None:
    def said(*words: str) -> str:
        command = [str(native), *words]
        return error_of(subprocess.run(command, check=False, capture_output=True, text=True, timeout=60))

    assert said("--speed=fast") == "--speed is unknown"
    assert said("runs") == "runs is not --name=value"
    assert said("--runs=many") == "--runs=many: a whole number, 0 or more, is needed"
    assert said("--threads=0") == "--threads=0: a whole number, 1 or more, is needed"
    for scale in ("a", "", "0", "nan", "inf", "0.5x"):
        assert said(f"--scale={scale}") == f"--scale={scale}: a positive number is needed"
    assert said(f"--library={litert}") == "--library and --model are needed"
    assert "cannot be loaded" in said("--library=/none/libLiteRt.so", f"--model={graph}")
    libm = next(Path("/usr/lib").rglob("libm.so.6"))
    assert "has no LiteRtCreateEnvironment" in said(f"--library={libm}", f"--model={graph}")
    assert "cannot run on the cores 1023" in error_of(run(Plan((graph,), pin=(1023,))))
    assert "numbered below 1024" in error_of(run(Plan((graph,), pin=(5000,))))


@pytest.mark.parametrize(
    "line",
    [
        '{"operator": 7}', '{"samples_ms": [1.0, null]}', '{"load_ms": true}', '{"load_ms": NaN}',
        '{"input": []}',
        '{"input": {"name": 1, "type": "int8", "shape": [1]}}', '{"cores": 3}', "[" * 100_000,
        '{"images": "4"}',
    ],
)  # fmt: skip
def test_a_spoilt_line_is_named(line: str) -> None:
    with pytest.raises(HarnessError, match=r"a line of the runner is spoilt: .*; run it again"):
        parse(f"{MARK}{line}\n{ANSWER}")


@pytest.mark.parametrize("name", ["load_ms", "first_ms", "samples_ms"])
def test_lines_that_were_lost_are_named(name: str) -> None:
    plan = Plan(("a",), runs=2)
    assert check(parse(ANSWER), plan).first_ms == (2.25,)
    lost = "".join(line for line in ANSWER.splitlines(keepends=True) if name not in line)
    with pytest.raises(HarnessError, match=f"the runner's answer has 0 of 1 lines of {name}: .*run it again"):
        check(parse(lost), plan)
