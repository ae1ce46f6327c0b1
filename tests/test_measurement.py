"""A measurement is one line that reads back as it was written, and a broken line is named."""

import dataclasses
import json
import threading
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from jsonschema import Draft202012Validator

from footseg.artifact import Artifact
from footseg.benchmarks import measurement, results_file
from footseg.benchmarks.measurement import (
    NOT_OF,
    Agreement,
    ColdStart,
    Energy,
    Instructions,
    Latency,
    Measurement,
    OperatorTime,
    Relative,
    SpeedAgainstPeak,
)
from footseg.clients import Standing
from footseg.errors import FootsegError
from footseg.runtime import Delegation

SCHEMA = json.loads(Path(measurement.__file__).with_name("measurement.schema.json").read_text())
VALIDATOR = Draft202012Validator(SCHEMA)
# The dataclass behind each object of a line that is ours; "": the line itself.
PARTS: dict[str, type] = {
    "": Measurement,
    "artifact": Artifact,
    "latency": Latency,
    "cold_start": ColdStart,
    "delegation": Delegation,
    "relative": Relative,
    "instructions": Instructions,
    "agreement": Agreement,
    "profile": OperatorTime,
    "calibration": SpeedAgainstPeak,
    "energy": Energy,
}
DEFINITIONS = {"profile": "operator_time"}  # an item of it
JSON_TYPES: dict[Any, str] = {
    str: "string", Path: "string", int: "integer", float: "number", bool: "boolean",
    dict: "object", Mapping: "object", tuple: "array",
}  # fmt: skip

# A line as the first footseg that measured wrote it, its samples cut to three.
FIRST_LINE: dict[str, Any] = {
    "kind": "measured",
    "created": "2026-11-21T01:00:15+00:00",
    "device": {"cpu": "AMD EPYC", "cores": 2, "architecture": "x86_64", "system": "Linux 6.18"},
    "artifact": {
        "name": "a_fp32.tflite", "format": "tflite", "sha256": "32" * 32, "network": "fast_linknet",
        "network_options": {}, "input_shape": [1, 128, 128, 3], "classes": ["background", "foot"],
        "recipe": "fp32", "parameters": 1810818, "parent": "45" * 32, "run": "fast_linknet",
        "verification": {"images": 32, "pixels_equal": 1.0, "worst": [["00014", 0.0]]}, "calibration": {},
        "versions": {"footseg": "0.1.0"}, "created": "2026-11-21T00:48:21+00:00",
    },
    "runtime": "LiteRT",
    "runtime_version": "2.3.0",
    "threads": 1,
    "latency": {
        "samples_ms": [0.8327, 0.6955, 11.2751], "median_ms": 0.8327, "p90_ms": 9.18662, "spread": 6.35,
        "noisy": True, "note": "noisy", "warmup_runs": 10,
    },
    "cold_start": {"load_ms": 146.1003, "first_inference_ms": 13.7124},
    "peak_memory_mb": 23.06,
    "file_bytes": 7211504,
    "gzip_bytes": 6594624,
    "cost": {
        "parameters": 1794216, "macs": 47113216, "flops": 94226432, "flops_tf_benchmark": 77987840,
        "uncounted": ["ADD"],
    },
    "delegation": {"operators": 67, "delegated": 67, "partitions": 1},
    "relative": {"to": "a_fp32.tflite", "to_sha256": "32" * 32, "ratio": 1.0, "rounds": 15},
    "versions": {"footseg": "0.1.0"},
    "schema": 1,
}  # fmt: skip


def json_types(hint: Any) -> set[str]:
    """What a field of this type is in JSON."""
    if get_origin(hint) is types.UnionType:
        return set().union(*(json_types(each) for each in get_args(hint)))
    if hint is type(None):
        return {"null"}
    return {"object" if dataclasses.is_dataclass(hint) else JSON_TYPES[get_origin(hint) or hint]}


def allowed(shape: Mapping[str, Any]) -> set[str]:
    """What the schema takes for a field."""
    if "$ref" in shape:
        return allowed(SCHEMA["$defs"][shape["$ref"].rpartition("/")[2]])
    if "oneOf" in shape:
        return set().union(*map(allowed, shape["oneOf"]))
    if "const" in shape:
        return {"integer"}
    kinds = shape["type"]
    return set(kinds) if isinstance(kinds, list) else {kinds}


def a_measurement(**changes: Any) -> Measurement:
    fields: dict[str, Any] = {
        "kind": "measured",
        "created": "2025-01-01T00:00:00+00:00",
        "device": {"cpu": "A core", "cores": 2, "architecture": "x86_64", "system": "Linux 6"},
        "artifact": Artifact(
            Path("a.tflite"),
            "tflite",
            "ab" * 32,
            "fast_linknet",
            {"width": 1.0},
            (1, 64, 64, 3),
            clients=(Standing("gpu", "GPU", "runs", "computed", operators={"ADD": 2}, asking=("ADD 2",)),),
        ),
        "runtime": "LiteRT",
        "runtime_version": "2.3.0",
        "threads": 1,
        "latency": Latency.of([5.0, 5.1, 5.2], 10),
        "cold_start": ColdStart(20.0, 9.0),
        "peak_memory_mb": 28.7,
        "file_bytes": 7_176_132,
        "gzip_bytes": 6_582_322,
        "cost": {"parameters": 9, "macs": 1, "flops": 2, "flops_tf_benchmark": 2, "uncounted": ["ADD"]},
        "delegation": Delegation(66, 66, 1),
        "relative": Relative("a.tflite", "ab" * 32, 1.0, 3, (0.9, 1.0, 1.1)),
        "zstd_bytes": 6_412_119,
        "versions": {"python": "3.11"},
    }
    return Measurement(**{**fields, **changes})


INSTRUCTIONS = Instructions("cortex-a76", (400_000_000, 400_000_400), 400_000_200, 10, 20, 400_000_170, 1e-6)
AGREEMENT = Agreement("feet", "test", 124, 0.99998, 0.004, 0.931, 0.71, 0.93, 0.7, 3.0)


def emulated(**changes: Any) -> Measurement:
    fields: dict[str, Any] = {
        "kind": "emulated",
        "device": {
            "cpu": "emulated Cortex-A76", "cores": 1, "architecture": "aarch64",
            "system": "QEMU 7.2.22 user mode",
        },
        "latency": None,
        "cold_start": None,
        "relative": None,
        "instructions": INSTRUCTIONS,
        "agreement": AGREEMENT,
    }  # fmt: skip
    return a_measurement(**{**fields, **changes})


def android(**changes: Any) -> Measurement:
    fields: dict[str, Any] = {
        "device": {
            "cpu": "Cortex-A55, Cortex-A76", "cores": 8, "architecture": "arm64-v8a", "system": "Linux 4.14",
            "model": "Phone 7", "serial": "ABC123", "soc": "SM8150", "android": "12", "build": "SP1A",
        },
        "agreement": AGREEMENT,
        "profile": (OperatorTime("Convolution (NHWC, F32) IGEMM", "conv", 1.25, 20),),
        "calibration": SpeedAgainstPeak("float32 512x512", 20.5, (20.0, 21.0), 0.4),
        "conditions": {
            "pinned_cores": [4, 5, 6, 7], "governor": "schedutil", "thermal_before": "NONE",
            "thermal_after": None,
            "throttled": False, "cooled_seconds": 3.0, "battery": 80, "charging": True, "notes": [],
        },
        "energy": Energy(12.5, 30.0, "an estimate"),
    }  # fmt: skip
    return a_measurement(**{**fields, **changes})


# Lines as each place writes them: this machine, an emulated core, a phone with either runner, another format.
EVERY_KIND = {
    "host": a_measurement(),
    "host, one file": a_measurement(relative=None, zstd_bytes=None),
    "onnx": a_measurement(runtime="ONNX Runtime", delegation=None),
    "profile": a_measurement(profile=android().profile, calibration=android().calibration),
    "emulated": emulated(),
    "android, ours": android(relative=Relative("b.tflite", "cd" * 32, 0.5, 3, (), 0.49, 0.52, 0.95, 4)),
    "benchmark_model": android(
        runtime="benchmark_model", runtime_version="", latency=Latency.of([5.0], 50, 50), agreement=None,
        energy=None,
    ),
}  # fmt: skip


def with_part(part: str, **changes: Any) -> str:
    """A line with a part changed; ... leaves a field out."""
    record = a_measurement().to_json()
    record[part] = {key: value for key, value in (record[part] | changes).items() if value is not ...}
    return json.dumps(record)


def test_latency_by_hand() -> None:
    # Quartiles of 1..9 are 3, 5 and 7; the 90th percentile lies a fifth of the way from 8 to 9.
    latency = Latency.of([float(i) for i in range(9, 0, -1)], 4)
    assert (latency.median_ms, latency.spread, latency.warmup_runs) == (5, 4 / 5, 4)
    assert latency.p90_ms == pytest.approx(8.2, abs=1e-12)  # interpolation rounds in the last place
    assert latency.samples_ms[0] == 9  # in the order they were made


def test_noise_is_said_aloud() -> None:
    still, shaken = Latency.of([10.0, 10.1, 10.2, 10.3]), Latency.of([10.0, 11.0, 14.0, 15.0])
    assert not still.noisy
    assert still.note == ""
    assert shaken.noisy
    assert "measure again" in shaken.note


def test_processor_time_is_kept_where_the_clock_is_fine_enough() -> None:
    found = Latency.of([4.0, 4.0, 8.0], processor_ms=[3.0, 3.0, 6.0])
    assert (found.processor_ms, found.processors) == ((3, 3, 6), 0.75)
    for coarse in ([], [0.0, 16.0, 0.0], [3.0]):
        found = Latency.of([4.0, 4.0, 8.0], processor_ms=coarse)
        assert (found.processor_ms, found.processors) == ((), None)


@pytest.mark.parametrize("samples", [[], [1.0, 0.0], [1.0, float("nan")]])
def test_latency_refuses_what_is_no_sample(samples: list[float]) -> None:
    with pytest.raises(ValueError, match="positive samples"):
        Latency.of(samples)


def test_a_line_from_before_zstd_rounds_and_processor_time_still_reads(tmp_path: Path) -> None:
    old = a_measurement().to_json()
    del old["zstd_bytes"], old["relative"]["ratios"], old["latency"]["processor_ms"]
    path = tmp_path / "results.jsonl"
    path.write_text(json.dumps(old))
    found = results_file.read_all(path)[0]
    assert found.zstd_bytes is None
    assert found.relative == Relative("a.tflite", "ab" * 32, 1.0, 3)


def test_a_line_of_the_first_footseg_still_reads(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text(json.dumps(FIRST_LINE))
    found = results_file.read_all(path)[0]
    assert (found.schema, found.artifact.recipe, found.where) == (1, "fp32", "AMD EPYC, 2 cores, Linux 6.18")
    assert found.latency == Latency((0.8327, 0.6955, 11.2751), 0.8327, 9.18662, 6.35, True, "noisy", 10)
    assert found.delegation == Delegation(67, 67, 1)
    assert found.relative == Relative("a_fp32.tflite", "32" * 32, 1.0, 15)
    assert found.relative.different is None
    assert found.artifact.details == {}
    # Written again it is the same line, with what has come since in it as null.
    path.write_text(json.dumps(found.to_json()))
    assert results_file.read_all(path) == [found]


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_a_line_reads_back_as_it_was_written(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "deep" / "results.jsonl"
    first, second = EVERY_KIND[kind], a_measurement(threads=2)
    results_file.append_line(path, first)
    results_file.append_line(path, second)
    assert results_file.read_all(path) == [first, second]
    assert len(path.read_text().splitlines()) == 2


def test_a_name_with_a_line_separator_stays_one_line(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    named = Artifact(Path("a\u2028b\u0085.tflite"), "tflite", "cd", classes=("one\u2029", "two"))
    results_file.append_line(path, a_measurement(artifact=named))
    (found,) = results_file.read_all(path)
    assert (found.artifact.name, found.artifact.classes) == ("a\u2028b\u0085.tflite", ("one\u2029", "two"))


def test_a_line_does_not_tell_where_the_file_lay(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    mine = Artifact(Path("/home/me/a.tflite"), "tflite", "cd", run="/home/me/runs/first")
    results_file.append_line(path, a_measurement(artifact=mine))
    assert "/home/me" not in path.read_text()
    found = results_file.read_all(path)[0].artifact
    assert (found.name, found.run) == ("a.tflite", "first")


def test_writers_do_not_mix_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    long = a_measurement(latency=Latency.of([5.0] * 2000))
    writers = [
        threading.Thread(target=lambda: [results_file.append_line(path, long) for _ in range(5)])
        for _ in range(4)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert results_file.read_all(path) == [long] * 20


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ('{"schema": 1, "kind":', "line 2"),
        ("[]", "not a JSON object"),
        (
            json.dumps(a_measurement().to_json() | {"schema": 3}),
            "its schema is 3, this footseg reads 1 and 2",
        ),
        (json.dumps(a_measurement().to_json() | {"surprise": 1}), "its field 'surprise' is unknown"),
        (json.dumps({"schema": 1, "kind": "measured"}), "no field 'created'"),
        (
            json.dumps(a_measurement().to_json() | {"threads": "2"}),
            """'threads' is "2", expected a whole number""",
        ),
        (json.dumps(a_measurement().to_json() | {"threads": True}), "'threads' is true"),
        (with_part("latency", median_ms="fast"), """'latency.median_ms' is "fast", expected a number"""),
        (with_part("latency", samples_ms=[5.0, None]), "'latency.samples_ms[1]' is null, expected a number"),
        (with_part("latency", median_ms=float("nan")), "NaN"),
        (with_part("latency", p95_ms=1.0), "'latency.p95_ms' is unknown"),
        (with_part("cold_start", load_ms=...), "no field 'cold_start.load_ms'"),
        (with_part("artifact", name=...), "no field 'artifact.name'"),
        (with_part("artifact", classes="foot"), "'artifact.classes' is \"foot\", expected a list"),
        (with_part("cost", flops="2"), "'cost.flops' is '2', expected a number"),
        (with_part("cost", macs=True), "'cost.macs' is True, expected a number"),
        (with_part("cost", uncounted="ADD"), "'cost.uncounted' is 'ADD', expected a list"),
        (with_part("delegation", outside={"ADD": 0.5}), "'delegation.outside.ADD' is 0.5"),
        (json.dumps(a_measurement().to_json() | {"kind": "computed"}), "kind must be measured or emulated"),
        (json.dumps(a_measurement().to_json() | {"kind": "emulated"}), "what is emulated has no latency"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, word: str) -> None:
    path = tmp_path / "results.jsonl"
    results_file.append_line(path, a_measurement())
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(FootsegError, match="line 2 is not a measurement") as error:
        results_file.read_all(path)
    assert word in str(error.value)
    assert str(error.value).endswith("delete that line")
    path.write_text(line)
    with pytest.raises(
        FootsegError, match=r"line 1 is not .*; give a file that footseg bench --out has written"
    ):
        results_file.read_all(path)


def test_no_results_say_how_to_get_some(tmp_path: Path) -> None:
    with pytest.raises(FootsegError, match="footseg bench"):
        results_file.read_all(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(FootsegError, match="holds no measurement"):
        results_file.read_all(tmp_path / "empty.jsonl")


def test_a_last_line_without_an_end_is_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    results_file.append_line(path, a_measurement())
    path.write_bytes(path.read_bytes().rstrip())
    results_file.append_line(path, a_measurement(threads=2))
    assert [line.threads for line in results_file.read_all(path)] == [1, 2]


def test_whether_a_file_can_be_written_is_found_out_before(tmp_path: Path) -> None:
    path = tmp_path / "new" / "results.jsonl"
    results_file.check_writable(path)
    assert not path.exists()
    results_file.append_line(path, a_measurement())
    results_file.check_writable(path)
    assert results_file.read_all(path) == [a_measurement()]
    (tmp_path / "file").write_text("")
    for wrong in (tmp_path, tmp_path / "file" / "results.jsonl"):
        with pytest.raises(FootsegError, match=r"cannot be written \(.*\): give --out another file"):
            results_file.check_writable(wrong)


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "results.jsonl"
    results_file.append_line(path, a_measurement())
    before, write = path.read_bytes(), results_file.os.write
    monkeypatch.setattr(results_file.os, "write", lambda file, data: write(file, data[:100]))
    with pytest.raises(FootsegError, match="disk is full"):
        results_file.append_line(path, a_measurement())
    monkeypatch.undo()
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("interval", "different"),
    [
        ((None, None), None),
        ((0.98, 1.01), False),
        ((1.01, 1.02), True),
        ((0.5, 0.99), True),
        ((1.0, 1.1), False),
    ],
)
def test_a_ratio_differs_when_its_interval_leaves_out_one(
    interval: tuple[float | None, float | None], different: bool | None
) -> None:
    found = Relative("a", "ab", 1.0, 3, (), *interval)
    assert found.different is different
    assert (found.verdict == "different") is bool(different)


@pytest.mark.parametrize(("kind", "part"), [(kind, part) for kind, parts in NOT_OF.items() for part in parts])
def test_clocks_and_counts_stand_apart(kind: str, part: str) -> None:
    full = {"measured": android(relative=a_measurement().relative), "emulated": emulated()}
    line = full[kind]
    value = getattr(full["emulated" if kind == "measured" else "measured"], part)
    assert value
    with pytest.raises(ValueError, match=f"what is {kind} has no {part}"):
        dataclasses.replace(line, **{part: value})
    record = json.loads(json.dumps(line.to_json()))
    VALIDATOR.validate(record)
    record[part] = json.loads(json.dumps(dataclasses.asdict(Holder(value))["value"]))
    # Another program's line is refused by the schema, too, for this and nothing else.
    assert not VALIDATOR.is_valid(record)
    either = Draft202012Validator({key: value for key, value in SCHEMA.items() if key != "oneOf"})
    either.validate(record)


@dataclasses.dataclass
class Holder:
    """Lets asdict go into a tuple."""

    value: Any


def test_a_device_in_words() -> None:
    assert a_measurement().where == "A core, 2 cores, Linux 6"
    assert a_measurement(device={"cpu": "A core", "cores": 1, "serial": None}).where == "A core, 1 core"
    assert a_measurement(device={"cpu": "A core", "cores": None}).where == "A core"
    assert android().where == "Phone 7, Cortex-A55, Cortex-A76, 8 cores, Linux 4.14, serial ABC123"


def test_devices_of_one_model_can_be_compared_at_a_distance() -> None:
    newer = {"cpu": "A core", "cores": 2, "architecture": "x86_64", "system": "Linux 7"}
    assert a_measurement(device=newer).model == a_measurement().model == "A core, x86_64, 2 cores"
    assert android().model == "Phone 7"
    assert emulated().model == "cortex-a76, emulated"
    assert [m.on_phone for m in (a_measurement(), android(), emulated())] == [False, True, False]


# --- the written schema --------------------------------------------------------------------------


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["properties"]["schema"] == {
        "description": "Version of this schema.",
        "const": measurement.SCHEMA,
    }


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_what_is_written_keeps_to_the_schema(kind: str) -> None:
    line = json.loads(json.dumps(EVERY_KIND[kind].to_json()))
    assert [error.message for error in VALIDATOR.iter_errors(line)] == []


@pytest.mark.parametrize("part", PARTS)
def test_the_schema_is_strict(part: str) -> None:
    whole = json.loads(json.dumps((emulated() if part == "instructions" else android()).to_json()))
    inner = whole if part == "" else whole[part]
    inner = inner[0] if isinstance(inner, list) else inner
    inner["surprise"] = 1
    assert not VALIDATOR.is_valid(whole)
    del inner["surprise"]
    VALIDATOR.validate(whole)
    inner.popitem()
    assert not VALIDATOR.is_valid(whole)


@pytest.mark.parametrize("part", PARTS)
def test_schema_and_dataclasses_have_the_same_fields(part: str) -> None:
    schema, kind = (
        (SCHEMA, Measurement) if part == "" else (SCHEMA["$defs"][DEFINITIONS.get(part, part)], PARTS[part])
    )
    hints = get_type_hints(kind)
    expected = {"name" if hint is Path else name: hint for name, hint in hints.items()}
    assert set(schema["properties"]) == set(expected)
    assert set(schema["required"]) == set(expected)
    assert schema["additionalProperties"] is False
    for name, hint in expected.items():
        shape = schema["properties"][name]
        assert allowed(shape) == json_types(hint), f"{part}.{name}"


def test_the_schema_has_the_fields_and_words_of_a_standing() -> None:
    from footseg import clients

    schema, hints = SCHEMA["$defs"]["standing"], get_type_hints(clients.Standing)
    assert set(schema["required"]) == set(schema["properties"]) == set(hints)
    for name, hint in hints.items():
        assert allowed(schema["properties"][name]) == json_types(hint), name
    assert schema["properties"]["verdict"]["enum"] == list(clients.VERDICTS)
    assert schema["properties"]["basis"]["enum"] == [clients.CHECKED, clients.COMPUTED, clients.UNKNOWN]


def test_every_field_of_the_schema_is_described() -> None:
    for shape in (SCHEMA, *SCHEMA["$defs"].values()):
        assert shape["description"]
        for name, field in shape["properties"].items():
            assert field.get("description") or "$ref" in json.dumps(field), name


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [
        ("", "threads", 0), ("", "file_bytes", 0), ("", "runtime", ""), ("", "schema", 1),
        ("", "kind", "computed"),
        ("artifact", "sha256", "ab"), ("artifact", "format", "pb"), ("latency", "median_ms", 0),
        ("latency", "samples_ms", []), ("agreement", "pixels_equal", 1.1), ("agreement", "iou", -0.1),
        ("conditions", "battery", 101), ("device", "cpu", ""), ("calibration", "gflops", 0),
    ],
)  # fmt: skip
def test_the_schema_holds_ranges(part: str, field: str, value: Any) -> None:
    record = json.loads(json.dumps(android().to_json()))
    VALIDATOR.validate(record)
    (record[part] if part else record)[field] = value
    assert not VALIDATOR.is_valid(record)


def test_the_share_is_that_of_as_many_threads_of_the_matrix_product() -> None:
    """50 million MACs in 5 ms are 20 GFLOP/s, half of 2 x 20."""
    latency = Latency.of([5.0, 5.0, 5.0])
    found = SpeedAgainstPeak.of("product", [19.0, 25.0, 20.0], latency, 50_000_000, threads=2)
    assert (found.gflops, found.samples_gflops) == (20.0, (19.0, 25.0, 20.0))
    assert found.share == pytest.approx(0.5)
    # One thread's is of processor time: half of the time it waited.
    waiting = Latency.of([5.0] * 3, processor_ms=[2.5] * 3)
    assert SpeedAgainstPeak.of("product", [20.0], waiting, 25_000_000, 1).share == pytest.approx(1)
    assert SpeedAgainstPeak.of("product", [20.0], waiting, 25_000_000, 2).share == pytest.approx(0.25)
    for wrong in ([], [0.0], [float("nan")]):
        with pytest.raises(ValueError, match="positive GFLOP/s"):
            SpeedAgainstPeak.of("product", wrong, latency, 1, 1)


def test_a_bad_line_costs_no_other(tmp_path: Path) -> None:
    """Characters that end lines elsewhere do not here; what is left out is named, and a gate refuses it."""
    path = tmp_path / "results.jsonl"
    odd = dataclasses.replace(a_measurement(), conditions={"note": "a\u2028b\x85c"})
    for one in (odd, a_measurement()):
        results_file.append_line(path, one)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"\xff\xfe\n" + lines[0] + b'{"schema": ' + b"[" * 100_000 + b"\n" + b"".join(lines[1:]))
    stored = results_file.read(path)
    assert list(stored.measurements) == [odd, a_measurement()]
    assert [line.split(":")[0].rpartition(", ")[2] for line in stored.left_out] == [
        "line 1 is not a measurement", "line 3 is not a measurement",
    ]  # fmt: skip
    with pytest.raises(FootsegError, match=r"line 1 is not a measurement.*mend or delete that line"):
        results_file.read_all(path)


@pytest.mark.parametrize("figure", ["iou", "logit_max_absolute"])
def test_a_figure_of_the_verification_is_a_number(tmp_path: Path, figure: str) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text(with_part("artifact", verification={figure: [1]}))
    with pytest.raises(FootsegError, match=rf"its field '{figure}' is \[1\], expected a number"):
        results_file.read(path)
