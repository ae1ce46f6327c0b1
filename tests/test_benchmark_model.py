"""Google's tool by the lines of its builds: what is asked of it, what is read, what is refused."""

import shlex
import time
from pathlib import Path

import pytest

from footseg.android_harness import benchmark_model, benchmark_output
from footseg.android_harness.benchmark_model import Options, Tool
from footseg.android_harness.errors import HarnessError
from tests.phone.machine import Machine
from tests.test_phone import Local

TOOL = "/data/local/tmp/benchmark_model"

# What builds of these years print: in 2018 little (tables of papers were made with it); in 2021 whole numbers
# and operators as a table with their starts; in 2025 the level before each message, decimals, percentiles and
# commas between columns; and LiteRT 2's program of the same name.
LOGS = Path(__file__).parent / "benchmark_logs"
FIRST, OLD, NEW, COMPILED = (
    (LOGS / f"{build}.txt").read_text() for build in ("2018", "2021", "2025", "litert2")
)
# 1 MB of the tool's is 1024 x 1024 bytes.
MEBI = 1.048576


def test_an_old_build_is_read() -> None:
    found = benchmark_output.parse(OLD)
    assert found.interface == "Interpreter"
    assert found.runs == benchmark_output.Runs(50, 266.601, 266.473)
    assert (found.warmup.count, found.warmup.mean_ms) == (2, 302.814)
    assert (found.init_ms, found.first_inference_ms) == (20.283, 339.304)
    assert (found.memory_mb, found.peak_memory_mb) == (100 * MEBI, 150 * MEBI)
    assert found.delegates == (benchmark_output.Delegate("XNNPACK", "part", 2),)
    assert [(step.node, step.mean_ms, step.share) for step in found.operators] == [
        ("CONV_2D", 4.25, 0.4),
        ("TfLiteXNNPackDelegate", 2.125, 0.2),
        ("TRANSPOSE_CONV", 4.25, 0.4),
    ]
    first, *_, last = found.operators
    assert (first.name, first.first_ms) == ("net/conv/Relu6;net/conv/bias, x", 4.269)
    assert (last.called, last.name) == (2, "logits")
    assert found.steps == found.operators


def test_a_new_build_is_read() -> None:
    found = benchmark_output.parse(NEW)
    assert found.runs == benchmark_output.Runs(50, 0.463, pytest.approx(0.464545))
    assert found.warmup == benchmark_output.Runs(1, 1.033, 1.033)
    assert (found.init_ms, found.first_inference_ms) == (4.478, 1.033)
    assert found.memory_mb == 11.5117 * MEBI
    assert found.peak_memory_mb is None
    assert found.delegates == (benchmark_output.Delegate("XNNPACK", "part", 2, (57, 60)),)
    assert [(step.node, step.mean_ms) for step in found.operators] == [
        ("TfLiteXNNPackDelegate", 0.29),
        ("TRANSPOSE_CONV", 0.0999),
        ("TfLiteXNNPackDelegate", 0.0746),
    ]
    assert found.operators[1].name == "up, a;b"
    assert [(step.node, step.mean_ms) for step in found.delegate_operators] == [
        ("Convolution (NHWC, F32) IGEMM", 0.19),
        ("Leaky ReLU (NC, F32)", 0.174),
    ]
    assert [step.node for step in found.steps] == [
        "Convolution (NHWC, F32) IGEMM",
        "Leaky ReLU (NC, F32)",
        "TRANSPOSE_CONV",
    ]


def test_the_tool_of_litert_2_is_told_apart() -> None:
    found = benchmark_output.parse(COMPILED)
    assert found.interface == "CompiledModel"
    assert (found.runs.count, found.runs.mean_ms) == (1054, pytest.approx(0.947132))
    assert (found.init_ms, found.first_inference_ms) == (5.757, 2.125)
    assert (found.memory_mb, found.peak_memory_mb) == (7.07 * MEBI, 20 * MEBI)
    assert found.delegates == (benchmark_output.Delegate("XNNPACK", "all", 1, (1, 1)),)


def test_the_first_builds_and_long_times_are_read() -> None:
    """From 1 s on, six digits of a mean in microseconds are written with an exponent."""
    found = benchmark_output.parse(FIRST)
    assert (found.runs.mean_ms, found.runs.count, found.init_ms) == (1667.68, 15, 9.933)
    assert found.warmup.mean_ms == pytest.approx(76.6059)


@pytest.mark.parametrize("text", [OLD, NEW, COMPILED, FIRST])
def test_line_ends_and_noise_change_nothing(text: str) -> None:
    noisy = "Welcome to the shell\r\n" + text.replace("\n", "\r\n") + "\r\nbye\r\n"
    assert benchmark_output.parse(noisy) == benchmark_output.parse(text)


def test_subgraphs_are_not_counted_twice() -> None:
    head, rows = NEW.split("INFO: Operator-wise Profiling Info for Regular Benchmark Runs:\n")
    table = rows.split("Delegate internal")[0]
    mark = "Operator-wise Profiling Info for Regular Benchmark Runs:\n"
    both = head + mark + "Primary graph (name: main) profile:\n" + table
    both += "Subgraph (index: 1, name: body) profile:\n" + table
    found = benchmark_output.parse(both)
    assert len(found.operators) == 3
    assert found.notes == ("operators of 1 subgraphs are part of those that call them",)


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("Unconsumed cmdline flags: --use_xnnpack=false\n" + OLD, 0, "does not know: --use_xnnpack=false;"),
        ("ERROR: Failed to parse flag 'num_runs' against argv '--num_runs=x'", 1, "cannot read a flag"),
        ("Could not open '/data/n.tflite'.\nFailed to load model /data/n.tflite\nBenchmarking failed.", 1,
         "the model is not there or cannot be read .Could not open '/data/n.tflite'"),
        ("The model is not a valid Flatbuffer buffer\nFailed to load model x\n", 1, "is no .tflite model"),
        ("Didn't find op for builtin opcode 'CONV_2D' version '9'.\nBenchmarking failed.", 0, "a newer one"),
        ("Failed to apply XNNPACK delegate.\nBenchmarking failed.", 1, "a delegate refused the model"),
        ("taskset: failed to set pid 1's affinity: Invalid argument", 1, "cannot be pinned to these cores"),
        ("/system/bin/sh: ./x: inaccessible or not found", 127, "it is not there: push it first"),
        ("/system/bin/sh: ./x: can't execute: Permission denied", 126, "chmod 755"),
        ("/system/bin/sh: ./x: not executable: 64-bit ELF file", 126, "built for another processor"),
        ('CANNOT LINK EXECUTABLE "./x": library "libz.so" not found', 1, "a library that it needs is"),
        ('library "libOpenCL.so" not found\nFailed to allocate tensors!', 1, "cannot be allocated"),
        ("STARTING!", 137, "it was killed, often for want of memory; the last it said: STARTING!"),
        ("STARTING!", 3, "it ended with code 3"),
        ("STARTING!", 0, "it printed no times; the last it said: STARTING!"),
        ("count=0\ncount=0\n", 0, "it printed no times"),
        ("", 0, "it printed no times"),
    ],
)  # fmt: skip
def test_failures_are_told_in_one_line(text: str, code: int, words: str) -> None:
    with pytest.raises(HarnessError, match=words) as caught:
        benchmark_output.parse(text, returncode=code, command=["./benchmark_model"])
    assert "\n" not in str(caught.value)
    assert caught.value.command == ("./benchmark_model",)


def test_every_option_has_its_flag() -> None:
    options = Options(
        threads=2, xnnpack=False, gpu=True, warmup_runs=3, warmup_secs=0.25, runs=20, min_secs=0, max_secs=60,
        profile=True, cores=(4, 5, 6, 7),
    )  # fmt: skip
    assert benchmark_model.arguments(Tool(TOOL), "/data/local/tmp/a 'b'.tflite", options) == [
        "taskset", "f0", TOOL, "--graph=/data/local/tmp/a 'b'.tflite", "--num_threads=2", "--warmup_runs=3",
        "--warmup_min_secs=0.25", "--num_runs=20", "--min_secs=0", "--max_secs=60",
        "--use_gpu=true", "--use_xnnpack=false",
        "--enable_op_profiling=true", "--op_profiling_output_mode=csv",
    ]  # fmt: skip


def test_what_is_not_asked_for_is_left_to_the_build() -> None:
    assert benchmark_model.arguments(Tool(TOOL), "m", Options()) == [
        TOOL, "--graph=m", "--num_threads=1", "--warmup_runs=1", "--warmup_min_secs=0.5", "--num_runs=50",
        "--min_secs=1", "--max_secs=150",
    ]  # fmt: skip


def test_the_other_program_has_other_flags() -> None:
    tool = Tool(TOOL, "CompiledModel")
    assert benchmark_model.arguments(tool, "m", Options())[-1] == "--use_cpu=true"
    assert benchmark_model.arguments(tool, "m", Options(gpu=True))[-1] == "--use_gpu=true"
    with pytest.raises(HarnessError, match="knows no option for xnnpack, profile: leave that out"):
        benchmark_model.arguments(tool, "m", Options(xnnpack=False, profile=True))


def test_a_build_that_lacks_a_flag_is_not_asked_for_it() -> None:
    known = frozenset({"graph", "num_runs", "enable_op_profiling", *ALL.split()} - {"use_gpu"})
    words = benchmark_model.arguments(Tool(TOOL, flags=known), "m", Options(profile=True))
    assert words[-1] == "--enable_op_profiling=true"  # it prints a table, which is read too
    with pytest.raises(HarnessError, match="knows no --use_gpu"):
        benchmark_model.arguments(Tool(TOOL, flags=known), "m", Options(gpu=True))


def test_masks_and_options_are_checked() -> None:
    assert [benchmark_model.mask(cores) for cores in ((4, 5, 6, 7), (0,), (7, 0), (10,))] == [
        "f0", "1", "81", "400",
    ]  # fmt: skip
    for cores in ((), (-1,)):
        with pytest.raises(ValueError, match="cores from 0 on"):
            benchmark_model.mask(cores)
    for wrong in ({"threads": 0}, {"runs": 0}, {"warmup_runs": -1}, {"min_secs": -1.0}):
        with pytest.raises(ValueError, match="got"):
            Options(**wrong)


HELP = """\
ERROR: Failed to parse flag 'num_runs' against argv '--num_runs=help'
ERROR: usage: /data/local/tmp/benchmark_model
Flags:
\t--num_runs=50               \tint32\toptional\texpected number of runs
\t--graph=                    \tstring\toptional\tgraph file name
"""
ALL = "num_threads warmup_runs warmup_min_secs min_secs max_secs use_gpu"


def usage(*flags: str) -> str:
    """The help of a build that knows these flags."""
    return HELP + "".join(f"\t--{flag}=false\tbool\toptional\twords --not_a_flag of it\n" for flag in flags)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "phone")


def put(machine: Machine, output: str, code: int = 0, *, help_text: str = HELP, path: str = TOOL) -> None:
    """A benchmark_model that prints what a real one did."""
    machine.write(f"{path}.says", output)
    machine.write(f"{path}.help", help_text)
    machine.write(
        path,
        f"#!/bin/sh\ncase $1 in --num_runs=help) cat {machine.path(path)}.help >&2; exit 1;; esac\n"
        f'printf "%s\\n" "$@" > {machine.path(path)}.asked\ncat {machine.path(path)}.says\nexit {code}\n',
    )
    machine.path(path).chmod(0o755)


def test_the_tool_is_found_on_the_phone(machine: Machine) -> None:
    device = Local(machine)
    assert benchmark_model.find(device) is None
    machine.write("/data/local/tmp/benchmark_model.log", "yesterday")
    assert benchmark_model.find(device) is None
    put(machine, OLD, path="/data/local/tmp/my tools/android_aarch64_benchmark_model")
    assert benchmark_model.find(device) == "/data/local/tmp/my tools/android_aarch64_benchmark_model"
    put(machine, OLD)
    assert benchmark_model.find(device) == TOOL
    machine.path("/data/local/tmp/my tools/android_aarch64_benchmark_model").unlink()
    machine.path(TOOL).chmod(0o644)
    with pytest.raises(HarnessError, match=f"may not be executed: adb shell chmod 755 {TOOL}"):
        benchmark_model.find(device)


def test_its_help_tells_which_of_the_two_it_is(machine: Machine) -> None:
    put(machine, NEW, help_text=usage(*ALL.split(), "use_xnnpack", "enable_op_profiling"))
    tool = benchmark_model.look(Local(machine), TOOL)
    assert tool.interface == "Interpreter"
    assert tool.flags == {"num_runs", "graph", "use_xnnpack", "enable_op_profiling", *ALL.split()}
    put(machine, NEW, help_text=usage(*ALL.split(), "use_npu", "use_cpu", "use_profiler"))
    assert benchmark_model.look(Local(machine), TOOL).interface == "CompiledModel"
    put(machine, NEW, help_text=usage("use_npu", "enable_op_profiling"))  # if the older one learns it
    assert benchmark_model.look(Local(machine), TOOL).interface == "Interpreter"
    put(machine, NEW, help_text="")
    assert benchmark_model.look(Local(machine), TOOL) == Tool(TOOL)
    with pytest.raises(HarnessError, match="it is not there: push it first"):
        benchmark_model.look(Local(machine), "/data/local/tmp/none")


def test_a_run_by_a_real_shell(machine: Machine) -> None:
    put(machine, NEW)
    model = '/data/local/tmp/it\'s my "net".tflite'
    options = Options(xnnpack=True, cores=(6, 7), profile=True)
    found = benchmark_model.run(Local(machine), Tool(TOOL), model, options)
    assert found.runs.mean_ms == pytest.approx(0.464545)
    assert found.notes == ("the XNNPACK delegate ran a part of the model, the rest ran without it",)
    asked = machine.path(f"{TOOL}.asked").read_text().splitlines()
    assert asked[0] == f"--graph={machine.path(model)}"
    assert machine.pinned() == [shlex.join(["c0"]) + " " + " ".join([str(machine.path(TOOL)), *asked])]


def test_a_delegate_that_ran_nothing_is_no_measurement_of_it(machine: Machine) -> None:
    device, tool = Local(machine), Tool(TOOL)
    created = "INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n"
    graph = "the model graph will"
    refused = f"Though GPU delegate is explicitly applied, {graph} not be executed by the delegate.\n"
    plain = FIRST  # says nothing of delegates
    put(machine, refused + plain)
    with pytest.raises(HarnessError, match="the GPU delegate ran nothing"):
        benchmark_model.run(device, tool, "m", Options(gpu=True))
    put(machine, COMPILED)
    with pytest.raises(HarnessError, match="the GPU delegate ran nothing"):
        benchmark_model.run(device, tool, "m", Options(gpu=True))
    put(machine, created + plain)
    with pytest.raises(HarnessError, match="XNNPACK ran although it was switched off"):
        benchmark_model.run(device, tool, "m", Options(xnnpack=False))
    put(machine, plain)
    assert benchmark_model.run(device, tool, "m", Options(gpu=True)).notes == (
        "the tool does not tell how much of the model its GPU delegate ran",
    )
    assert benchmark_model.run(device, tool, "m", Options(xnnpack=False)).notes == ()
    applied = f"Explicitly applied GPU delegate, and {graph} be completely executed by the delegate.\n"
    put(machine, applied + plain)
    found = benchmark_model.run(device, tool, "m", Options(gpu=True))
    assert (found.delegates, found.notes) == ((benchmark_output.Delegate("GPU", "all", 1),), ())


def test_a_row_with_a_number_that_is_none_is_no_row() -> None:
    log = (Path(__file__).parent / "benchmark_logs" / "2025.txt").read_text()
    whole = benchmark_output.parse(log).operators
    damaged = benchmark_output.parse(log.replace("0.1, 0.0999, 21.5%", "0.1, 0.09.9, 21.5%")).operators
    assert [one.node for one in whole] == ["TfLiteXNNPackDelegate", "TRANSPOSE_CONV", "TfLiteXNNPackDelegate"]
    assert damaged == (whole[0], whole[2])


def test_a_line_without_end_takes_no_time() -> None:
    log = (Path(__file__).parent / "benchmark_logs" / "2025.txt").read_text()
    began = time.monotonic()
    with pytest.raises(HarnessError):
        benchmark_output.parse("INFO: " + '{"a":' * 100_000)
    assert benchmark_output.parse(log + '{"a":' * 100_000) == benchmark_output.parse(log)
    assert time.monotonic() - began < 10  # milliseconds; without a limit more than a minute
