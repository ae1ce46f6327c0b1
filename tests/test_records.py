"""Every record that a station leaves, damaged field by field: reading it ends in one line that names both."""

import copy
import json
import math
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from footseg import artifact, files, records, run, steps
from footseg.artifact import Artifact
from footseg.benchmarks.measurement import Latency, Measurement, Relative
from footseg.benchmarks.pages import frontier
from footseg.benchmarks.results_file import append_line, read_all
from footseg.clients import Standing
from footseg.compress.sizes import LayerSize, read_sizes
from footseg.errors import FootsegError
from footseg.evaluate import Evaluation, ImageScore, SavedEvaluation
from footseg.export import golden
from footseg.mixtures import Frontier, Mixture, QuantizationCost, Sensitivity
from footseg.reproduce import settings
from footseg.run import Run
from footseg.search import records as searches
from footseg.search.records import SearchSettings, Trial
from footseg.steps import Step
from footseg.study import layers
from footseg.training import logbook

SHA, NOW = "ab" * 32, "2025-01-01T00:00:00+00:00"
STEP: run.Compression = {
    "method": "prune", "settings": {"sparsity": 0.7}, "parent": SHA, "val_iou_before": 0.8,
    "val_iou_after": 0.79, "layers": {"conv": {}}, "left_out": {"stem": "too few weights"},
}  # fmt: skip
FOUND = Sensitivity(
    "int8", "a.tflite", "val", 3, 0.8, "", (QuantizationCost(0, "CONV_2D", "t", "conv", 0.01, 0.1, 9),)
)
FRONTIER = Frontier(
    "a.tflite", "net", 0.02, 0, {"iou": 0.8, "bytes": 400, "split": "val", "images": 1}, 0,
    (Mixture("int8", {"t": "int4"}, 100, 0.79, 0.01, math.inf, 0.1, 3, 3, 1, True),), (FOUND,),
    {"ratio": 0.5},
)  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """A record: what writes it into a folder and returns its path, and what reads it again.

    What lies below the fields ``free`` may be anything.
    """

    write: Callable[[Path], Path]
    read: Callable[[Path], Any]
    free: tuple[str, ...] = ()


def a_run(folder: Path) -> Path:
    Run(
        path=folder, status="finished", network="net", network_options={"width": 1.0}, seed=0,
        input_shape=(8, 8, 3), classes=("background", "foot"), colours=((0, 0, 0), (9, 9, 9)),
        parameters=10, data="data", data_fingerprint="f", parents={"teacher": SHA}, compression=(STEP,),
        best={"epoch": 1, "val_iou": 0.8, "val_pixel_accuracy": 0.9, "val_loss": 0.3}, machine={"cores": 2},
    ).save()  # fmt: skip
    return folder / "run.json"


def a_sidecar(folder: Path) -> Path:
    files.write_text(folder / "a.tflite", "network")
    digest = files.sha256(folder / "a.tflite")
    gpu = Standing("gpu", "GPU", "runs", "checked", "", {"ADD": 1}, "2.3.0", ("ADD 2",), 0.9, 1, "2")
    made = Artifact(
        folder / "a.tflite", "tflite", digest, "net", {"width": 1.0}, (1, 8, 8, 3), ("a", "b"), clients=(gpu,)
    )
    return made.save_sidecar()


def a_search(folder: Path) -> Path:
    searches.save_settings(
        folder, SearchSettings({"batch": {"choice": [8]}}, {"network": "net"}, against=("size",))
    )
    return folder / "search.json"


def a_trial(folder: Path) -> Path:
    scores, costs = {"iou": 0.8}, {"size": 9.0}
    searches.save_trial(folder, Trial(0, {"batch": 1}, {"batch": 8}, "finished", scores=scores, costs=costs))
    return folder / "trials" / "0000.json"


def a_step(folder: Path) -> Path:
    made = folder / "made"
    work = [Step("train net", ("train", f"{made}"), made, needs=("data",))]
    steps.run_steps(work, folder, lambda words: made.touch() or 0, lambda line: None, go_on="")
    return folder / "steps" / "train_net.json"


def a_reproduction(folder: Path) -> Path:
    for name in settings.FOLDERS:
        (folder / name).mkdir()
    given: dict[str, Any] = {name: f"{folder / name}" for name in settings.FOLDERS}
    settings.save(folder / "out", settings.resolve(folder / "out", given))
    a_step(folder / "out")
    return folder / "out" / "settings.json"


def a_list_of_layers(folder: Path) -> Path:
    files.write_json(folder / "layers.json", [asdict(LayerSize("conv", "Conv2D", 9, 3, 4, 20, 36))])
    return folder / "layers.json"


def an_evaluation(folder: Path) -> Path:
    figures = {"iou": 0.8, "boundary_f": 0.6, "boundary_tolerance_px": 3}
    scores = (ImageScore("a", *[0.5] * 5),)
    size, colours = (8, 8), ((0, 0, 0), (9, 9, 9))
    Evaluation("net", SHA, "d", "f", "test", 1, size, figures, scores, (), {}, colours, (), ()).save(
        folder / "e"
    )
    return folder / "e" / "metrics.json"


def a_sensitivity(folder: Path) -> Path:
    files.write_json(folder / "s.json", FOUND.to_json())
    return folder / "s.json"


def a_frontier(folder: Path) -> Path:
    files.write_json(folder / "f.json", asdict(FRONTIER))
    return folder / "f.json"


def a_measurement(folder: Path) -> Path:
    line = Measurement(
        kind="measured", created=NOW, device={"cpu": "Z80"},
        artifact=Artifact(Path("a.tflite"), "tflite", SHA), runtime="LiteRT",
        runtime_version="2", threads=1, file_bytes=9, gzip_bytes=8, cost={"macs": 1},
        latency=Latency.of([1.0, 1.1, 1.2]), relative=Relative("a.tflite", SHA, 1.0, 1),
    )  # fmt: skip
    append_line(folder / "results.jsonl", line)
    return folder / "results.jsonl"


def golden_vectors(folder: Path) -> Path:
    tensor, limit = golden.Tensor((1, 8, 8, 3), "uint8", "pixels", 1 / 255), golden.Limit(1.0, "rounding")
    case = golden.Case("thin", "", "a.png", 1, (9, 1), 0, 4, 8, 1, "i.bin", "o.bin", "m.png")
    limits = dict.fromkeys(golden.STEPS, limit)
    made = golden.Golden(1, "a.tflite", SHA, (8, 8), 2, "logits", tensor, tensor, limits, (case,), "0")
    files.write_json(folder / golden.RECORD, asdict(made))
    return folder / golden.RECORD


KINDS = {
    "run": Kind(
        a_run, lambda path: run.load(path.parent), ("path", "network_options", "machine", "layers.conv")
    ),
    "sidecar": Kind(
        a_sidecar,
        lambda path: artifact.load(path.with_suffix("")),
        ("network_options", "details", "verification", "calibration", "speed", "path"),
    ),
    "search": Kind(a_search, lambda path: searches.load_settings(path.parent), ("space", "values")),
    "trial": Kind(a_trial, lambda path: searches.load_trial(path.parents[1], 0), ("values",)),
    "step": Kind(a_step, lambda path: steps.records(path.parents[1])),
    "reproduction": Kind(a_reproduction, lambda path: settings.resolve(path.parent, {})),
    "layers": Kind(a_list_of_layers, read_sizes),
    "evaluation": Kind(
        an_evaluation,
        lambda path: SavedEvaluation.load(path.parent),
        ("per_image.0.boundary_f", "share", "pixel_accuracy", "unlabelled", "versions", "worst"),
    ),
    "sensitivity": Kind(a_sensitivity, layers.sensitivity),
    "frontier": Kind(a_frontier, frontier.write),
    "golden vectors": Kind(golden_vectors, lambda path: golden.load(path.parent)),
    "measurement": Kind(
        a_measurement,
        read_all,
        (
            "device",
            "cost",
            "conditions",
            "network_options",
            "details",
            "verification",
            "calibration",
            "speed",
        ),
    ),
}


def fields(value: Any, way: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The ways to all fields, those of lists by their first item."""
    if way and isinstance(way[-1], str):
        yield way
    inner = (
        value.items() if isinstance(value, dict) else enumerate(value[:1] if isinstance(value, list) else ())
    )
    for key, part in inner:
        yield from fields(part, (*way, key))


def damaged(record: Any, way: tuple[str | int, ...], value: Any) -> Any:
    """A copy with another value of one field, without it where ``value`` is Ellipsis."""
    whole = copy.deepcopy(record)
    parent = whole
    for key in way[:-1]:
        parent = parent[key]
    if value is ...:
        del parent[way[-1]]
    else:
        parent[way[-1]] = value
    return whole


def said(kind: Kind, path: Path) -> str:
    """The line that reading ends in; "" where it is read."""
    try:
        kind.read(path)
    except FootsegError as error:
        assert str(path) in str(error), "it names the file"
        assert "\n" not in str(error)
        return str(error)
    return ""


@pytest.mark.parametrize("name", KINDS)
def test_damage_to_a_field_is_a_line_that_names_it(tmp_path: Path, name: str) -> None:
    kind = KINDS[name]
    path = kind.write(tmp_path)
    kind.read(path)
    record = json.loads(path.read_text())
    ways = list(fields(record))
    refused = 0
    for way in ways:
        before: Any = record
        for key in way:
            before = before[key]
        wrong = 5 if isinstance(before, str) else "5"
        for value in (wrong, ..., None, math.nan, [[]], 10**400):
            path.write_text(json.dumps(damaged(record, way, value)))
            line = said(kind, path)
            named = f"{way[-1]}" in line or "it holds NaN" in line  # as lines of results have it
            assert not line or named, "it names the field"
            refused += bool(line)
            dotted = ".".join(str(key) for key in way)
            if value is wrong and before is not None and not any(free in dotted for free in kind.free):
                assert line, f"{dotted} = {wrong!r} was read"
                assert f"{wrong}" in line, "it says what was found"
    assert refused > len(ways)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe{}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"5",
        b"[5]",
        b'{"a": ' + b"9" * 5000 + b"}",
        b"{",
    ],
    ids=["empty", "not UTF-8", "lists", "objects", "a number", "a list", "digits", "cut short"],
)
def test_what_is_no_record_at_all_is_a_line(tmp_path: Path, name: str, data: bytes) -> None:
    path = KINDS[name].write(tmp_path)
    path.write_bytes(data)
    assert said(KINDS[name], path)


ROW = dict.fromkeys(logbook.HISTORY, 1.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("epoch,val_iou\n1,high\n", "'val_iou' in line 2 is 'high'"),
        (
            "epoch,val_iou\n1,-1e308\n",
            "'val_iou' in line 2 is '-1e308', which no figure of a training can be",
        ),
        ("epoch,val_iou\ninf,1\n", "'epoch' in line 2 is 'inf', which is none"),
        ("epoch,val_iou\n1\n", "line 2 has 1 figures, expected 2"),
        ("epoch,val_iou\n1,,\n", "line 2 has 3 figures, expected 2"),
        ("epoch,loss\n1,2\n", "no column 'val_iou'"),
        ("", "no column 'val_iou'"),
        ("\udcff", "can't decode byte"),
    ],
)
def test_a_damaged_history_is_a_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "history.csv"
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(FootsegError, match=words) as error:
        run.read_history(path, "val_iou")
    assert str(path) in str(error.value)


def test_a_history_is_read_by_column(tmp_path: Path) -> None:
    assert run.read_history(tmp_path / "history.csv", "val_iou") == {}
    path = tmp_path / "history.csv"
    path.write_text(logbook.history_csv([ROW, ROW | {"val_loss": math.inf}]))
    assert run.read_history(path, "val_iou")["val_loss"] == [1.0, math.inf]


@pytest.mark.parametrize(
    "history", ["[5]", '[{"epoch": "one"}]', "[{}]", "{}", "[" * 100_000, "5", '[{"epoch": 1}]']
)
def test_a_damaged_checkpoint_is_a_line(tmp_path: Path, history: str) -> None:
    path, state = tmp_path / "checkpoint.npz", {"weights": np.zeros(2)}
    logbook.save_checkpoint(path, state, [ROW])
    assert logbook.load_checkpoint(path, state)[1] == [ROW]
    np.savez(path, history=np.array(history), **state)  # type: ignore[arg-type]
    with pytest.raises(FootsegError, match=r"checkpoint\.npz cannot be read \(.*start anew with --force"):
        logbook.load_checkpoint(path, state)
    logbook.save_checkpoint(path, state, [ROW])
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("v1.npy", b"")
    with pytest.raises(FootsegError, match=r"cannot be read \(its v1\S* is no array\)"):
        logbook.load_checkpoint(path, state)
    for data in (b"", b"PK\x03\x04", path.read_bytes()[:-40]):
        path.write_bytes(data)
        with pytest.raises(FootsegError, match="cannot be read"):
            logbook.load_checkpoint(path, state)


def test_fields_of_other_versions_are_left_out_but_where_all_are_asked_for(tmp_path: Path) -> None:
    path = a_run(tmp_path)
    before = run.load(tmp_path)
    files.write_json(path, json.loads(path.read_text()) | {"surprise": 1})
    assert run.load(tmp_path) == before
    with pytest.raises(ValueError, match="'surprise' is unknown"):
        records.of(Frontier, asdict(FRONTIER) | {"surprise": 1}, strict=True)
