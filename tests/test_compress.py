"""``footseg compress`` through the real command: chains of steps, what they leave, what is refused."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from footseg import cli, files, run
from footseg.compress import pipeline
from footseg.compress.request import REQUEST, CompressionStep, Request, from_json


def kernels(path: Path) -> dict[str, np.ndarray]:
    model = keras.saving.load_model(path / "model.keras", compile=False)
    return {layer.name: np.asarray(layer.kernel) for layer in model.layers if hasattr(layer, "kernel")}


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert cli.main(words) == 1
    said = capsys.readouterr()
    assert said.out == ""
    return said.err.strip().splitlines()[-1]


# ---- what a chain leaves


def test_a_chain_is_a_run_that_says_what_was_done(compressed_run: Path, tiny_run: Path) -> None:
    """--prune 0.7 --cluster 16, a few epochs each: see conftest."""
    done = run.load(compressed_run)
    prune, cluster = done.compression
    assert (prune["method"], prune["settings"]["sparsity"]) == ("prune", 0.7)
    assert (cluster["method"], cluster["settings"]["clusters"]) == ("cluster", 16)
    assert prune["parent"] == files.sha256(tiny_run / "model.keras")
    assert cluster["parent"] == files.sha256(compressed_run / "steps" / "1_prune" / "model.keras")
    assert "depthwise" in prune["left_out"]["encoder1_a_1_depthwise"]
    found = kernels(compressed_run)
    for name, reached in prune["layers"].items():
        # Clustering keeps all zeros, and may send small weights to them.
        assert np.mean(found[name] == 0) >= reached["sparsity"]
        assert len(np.unique(found[name])) <= 16
    zeros = sum(np.sum(found[name] == 0) for name in prune["layers"])
    # Less the rounding of each layer's share to whole weights: some 30 of 100,000.
    assert zeros / sum(found[name].size for name in prune["layers"]) >= 0.7 - 1e-3
    rows = json.loads((compressed_run / "layers.json").read_text())
    assert {row["name"] for row in rows} >= set(prune["layers"])
    assert done.status == "finished"


def test_a_finished_one_is_not_done_again(compressed_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (compressed_run / "model.keras").stat().st_mtime_ns
    assert cli.main(["compress", "--out", str(compressed_run), "--resume", "--json"]) == 0
    said = capsys.readouterr()
    assert "is finished: nothing to resume" in said.err
    assert json.loads(said.out)["compression"][1]["method"] == "cluster"
    assert (compressed_run / "model.keras").stat().st_mtime_ns == before


@pytest.mark.slow
def test_one_stopped_in_its_second_step_goes_on_there(compressed_run: Path, tmp_path: Path) -> None:
    """The first step is not done again, and the second one ends with the same weights."""
    out = tmp_path / "out"
    out.mkdir()
    shutil.copy(compressed_run / REQUEST, out)
    shutil.copytree(compressed_run / "steps" / "1_prune", out / "steps" / "1_prune")
    first = (out / "steps" / "1_prune" / "model.keras").stat().st_mtime_ns

    class StoppedError(Exception):
        pass

    def stop(line: str) -> None:
        if line.startswith("epoch 1"):
            raise StoppedError

    with pytest.raises(StoppedError):
        pipeline.compress(None, out, resume=True, say=stop)
    assert not run.exists(out)
    pipeline.compress(None, out, resume=True)
    assert (out / "steps" / "1_prune" / "model.keras").stat().st_mtime_ns == first
    ours, whole = kernels(out), kernels(compressed_run)
    assert ours.keys() == whole.keys()
    for name, kernel in ours.items():
        np.testing.assert_array_equal(kernel, whole[name], err_msg=name)


@pytest.mark.slow
def test_cutting_makes_a_smaller_dense_network(tiny_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "cut"
    words = ["--cut", "0.4", "--set", "multiple_of=2", "--skip", "tail2*", "--epochs", "1"]
    assert cli.main(["compress", str(tiny_run), "--out", str(out), *words]) == 0
    done = run.load(out)
    (entry,) = done.compression
    assert entry["macs_after"] <= 0.6 * entry["macs_before"]
    model = keras.saving.load_model(out / "model.keras", compile=False)
    assert model.count_params() == done.parameters < run.load(tiny_run).parameters
    for name, row in entry["layers"].items():
        assert model.get_layer(name).kernel.shape[-1 if "up" not in name else -2] == row["channels"]
    assert "tail2_conv" not in entry["layers"]


@pytest.mark.slow
def test_fine_tuning_under_the_uncompressed_network_as_its_teacher(tiny_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "taught"
    words = ["--prune", "0.5", "--epochs", "1", "--loss", "ce", "distill:2", "attention"]
    assert cli.main(["compress", str(tiny_run), "--out", str(out), *words]) == 0
    assert run.load(out).parents["teacher"] == files.sha256(tiny_run / "model.keras")


# ---- what is refused, before anything is written


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--prune", "1.0"], "at 1 no weight would be left"),
        (["--prune", "0.5", "--layer", "stem_con=0.2"], "stem_conv"),
        (["--prune", "0.5", "--set", "sparsness=1"], "prune has no option 'sparsness': did you mean"),
        (["--cluster", "1000"], "1000"),
        (["--cluster", "256", "--layer", "classifier=256"], "classifier"),
        (["--cut", "1.5"], "between 0 and 1"),
        (["--cut", "0.999"], "MACs"),
        (["--cut", "0.5", "--skip", "nowhere*"], "nowhere*"),
        (["--prune", "0.5", "--cut", "0.5"], "--cut comes before --prune"),
        (["--qat", "--prune", "0.5"], "--prune cannot follow --qat"),
        (["--prune", "0.5", "--data", "nowhere"], "nowhere"),
        (["--prune", "0.5", "--teacher", "nowhere"], "no such file"),
        (["--prune", "0.5", "--teacher", "nowhere", "--loss", "ce"], "nothing to teach"),
        (["--prune", "0.5", "--cluster", "16", "--skip", "nowhere*"], "nowhere*"),
        (["--prune", "0.5", "--set", "begin=soon"], "prune: begin = 'soon' is not a number"),
        (["--prune", "0.5", "--set", "block=3"], "prune: block = 3 is not a text"),
        (["--prune", "0.5", "--set", "layers=3"], "--layer PATTERN=VALUE"),
        (["--prune", "0.5", "--set", "skip=3"], "is not a list of names"),
        (["--cut", "0.5", "--set", "multiple_of=few"], "cut: multiple_of = 'few' is not a whole number"),
        (["--cut", "0.5", "--layer", "tail*=most"], "'tail*'"),
        (["--cut", "0.5", "--layer", "tail*=1"], "less than 1, not 1"),
        (["--qat", "--set", "momentum=slow"], "qat: momentum = 'slow' is not a number"),
        ([], "no step given"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_settings_are_one_line_and_write_nothing(
    words: list[str], message: str, tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    line = refused(["compress", str(tiny_run), "--out", str(out), *words], capsys)
    assert message in line
    assert not out.exists()


def test_data_of_other_classes_or_without_a_split_write_nothing(
    tiny_run: Path, tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other, half, out = tmp_path / "other", tmp_path / "half", tmp_path / "out"
    shutil.copytree(tiny_data, other)
    (other / "dataset.toml").write_text('classes = ["background", "foot", "shoe"]\n')
    shutil.copytree(tiny_data / "train", half / "train")
    words = ["compress", str(tiny_run), "--out", str(out), "--prune", "0.5", "--loss", "ce", "--data"]
    assert "has 3 classes" in refused([*words, str(other)], capsys)
    assert "has no split 'val'" in refused([*words, str(half)], capsys)
    assert not out.exists()


def test_a_layer_of_somebody_s_own_is_named(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Mine(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x

    image = keras.Input((64, 64, 3))
    logits = keras.layers.Conv2D(2, 1)(image)
    odd = shutil.copytree(tiny_run, tmp_path / "odd")
    words = ["compress", str(odd), "--out", str(tmp_path / "out"), "--prune", "0.5"]
    for layer, kind in ((Mine(name="odd_one"), "Mine"), (keras.layers.Lambda(abs, name="odd_one"), "Lambda")):
        keras.Model(image, layer(logits)).save(odd / "model.keras")
        assert f"layer 'odd_one' is a {kind}" in refused(words, capsys)
    assert not (tmp_path / "out").exists()


def test_what_follows_from_the_run_is_no_option(tiny_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["compress", str(tiny_run), "--out", "x", "--prune", "0.5", "--set", "size=32"])
    assert stopped.value.code == 2
    assert "--set size: this follows from the run" in capsys.readouterr().err


def test_nothing_is_resumed_that_was_not_begun_or_asked_otherwise(
    compressed_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(["compress", "--resume", "--out", str(tmp_path / "none")], capsys)
    assert "nothing was begun" in line
    line = refused(["compress", "--resume", "--out", str(compressed_run), "--epochs", "3"], capsys)
    assert "leave them out" in line


def test_force_never_removes_what_it_starts_from(
    compressed_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for parent in (compressed_run, compressed_run / "steps" / "1_prune"):
        words = ["compress", str(parent), "--out", str(compressed_run), "--cluster", "8", "--force"]
        assert "would be replaced" in refused(words, capsys)
    assert (compressed_run / "model.keras").is_file()


def test_an_unfinished_compression_is_no_run_to_go_on_from(
    compressed_run: Path, tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor is its step for footseg train; and one whose run is gone, or another by now, says so."""
    begun = tmp_path / "begun"
    step = shutil.copytree(compressed_run / "steps" / "1_prune", begun / "steps" / "1_prune")
    (step / "layers.json").unlink()
    record = run.load(step)
    last = {key: value for key, value in record.compression[-1].items() if key != "val_iou_after"}
    dataclasses.replace(record, status="interrupted", compression=(last,)).save()
    files.write_json(begun / REQUEST, Request(str(tiny_run), (CompressionStep("prune"),)).to_json())
    for parent in (begun, step):
        words = ["compress", str(parent), "--out", str(tmp_path / "out"), "--prune", "0.5"]
        assert f"footseg compress --resume --out {begun}" in refused(words, capsys)
    line = refused(["train", "--resume", "--out", str(step)], capsys)
    assert f"footseg compress --resume --out {begun}" in line

    retrained = shutil.copytree(tiny_run, tmp_path / "retrained")
    shutil.copy(compressed_run / "model.keras", retrained)
    files.write_json(begun / REQUEST, Request(str(retrained), (CompressionStep("prune"),)).to_json())
    resume = ["compress", "--resume", "--out", str(begun)]
    assert "is not the network that" in refused(resume, capsys)
    shutil.rmtree(retrained)
    assert "is gone: restore it" in refused(resume, capsys)


def test_options_need_a_step_before_them(tiny_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--set", "scope=layer"], ["--layer", "a=1"], ["--skip", "a"]):
        with pytest.raises(SystemExit) as stopped:
            cli.main(["compress", str(tiny_run), "--out", "x", *words, "--prune", "0.5"])
        assert stopped.value.code == 2
        assert "belongs to the step before it" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_one_line(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "note").write_text("dear")
    line = refused(
        ["compress", str(tiny_run), "--out", str(tmp_path / "note" / "x"), "--prune", "0.5"], capsys
    )
    assert "cannot be used (Not a directory)" in line


def test_what_stands_in_the_way_stays(
    tiny_run: Path, tmp_path: Path, compressed_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    thing = tmp_path / "thing"
    thing.mkdir()
    (thing / "photo.jpg").write_text("dear")
    line = refused(["compress", str(tiny_run), "--out", str(thing), "--prune", "0.5", "--force"], capsys)
    assert "is no compressed run: choose another --out" in line
    assert (thing / "photo.jpg").read_text() == "dear"
    again = ["compress", str(tiny_run), "--out", str(compressed_run)]
    assert "go on with --resume, or replace it with --force" in refused([*again, "--prune", "0.5"], capsys)
    line = refused([*again, "--prune", "0.5", "--resume"], capsys)
    assert "was begun with other options" in line
    assert "is not a run" in refused(["compress", str(tmp_path), "--out", "x", "--prune", "0.5"], capsys)


def test_force_replaces_only_when_nothing_is_wrong(
    compressed_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    shutil.copy(compressed_run / REQUEST, out)
    (out / "model.keras").write_text("dear")
    words = ["compress", str(compressed_run), "--out", str(out), "--force"]
    assert "--prune comes before --cluster" in refused([*words, "--prune", "0.9"], capsys)
    assert (out / "model.keras").read_text() == "dear"


def test_a_request_reads_back_as_it_was_written() -> None:
    request = Request(
        "feet", (CompressionStep("prune", {"sparsity": 0.5, "skip": ["a*"]}, {"epochs": 2}),), {"seed": 3}
    )
    assert from_json(json.loads(json.dumps(request.to_json()))) == request
    settings: Any = request.steps[0].settings()
    assert (settings.sparsity, settings.skip) == (0.5, ("a*",))
