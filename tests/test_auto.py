"""The smallest file within a loss of IoU, from a run to artifact, record and picture."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from footseg import artifact, runtime
from footseg.benchmarks.pages import frontier
from footseg.data.shapes import write_shapes
from footseg.data.synth import SynthConfig
from footseg.errors import FootsegError
from footseg.export import auto as module
from footseg.export.auto import Auto, AutoConfig, auto, by_trade
from footseg.export.sensitivity import QuantizationCost, Reference, Sensitivity
from footseg.graphs import metadata
from tests.canonical import canonical
from tests.runs import save_run

keras = pytest.importorskip("keras", reason="makes the network: pip install '.[train]'")
pytest.importorskip("tensorflow", reason="converts the network: pip install '.[train]'")
pytest.importorskip("ai_edge_quantizer", reason="quantizes: pip install '.[compress]'")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a network of three convolutions and a sum with random weights, on drawn feet at 32x32."""
    folder = tmp_path_factory.mktemp("auto")
    data = write_shapes(folder / "feet", SynthConfig({"train": 4, "val": 4}, seed=1, size=(32, 32)))
    keras.utils.set_random_seed(5)
    image = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(16, 3, padding="same", activation="relu", name="first")(image)
    y = keras.layers.Conv2D(16, 3, padding="same", activation="relu", name="second")(x)
    x = keras.layers.Conv2D(2, 1, name="last")(keras.layers.Add(name="sum")([x, y]))
    return save_run(folder / "run", keras.Model(image, x, name="net"), data=str(data)).path


@pytest.fixture(scope="module")
def found(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Auto:
    """Half of the IoU may be lost, so that everything can be lowered."""
    return auto(run, tmp_path_factory.mktemp("out"), AutoConfig(0.5, margin=0))


def test_what_may_lose_much_is_lowered_as_far_as_it_goes(found: Auto) -> None:
    # All that has weights to lower; the sum has none.
    assert found.frontier.best.name == "int8; 3 in int4"
    assert set(found.frontier.best.levels.values()) == {"int4"}
    assert found.frontier.best.bytes == found.artifact.path.stat().st_size
    assert found.frontier.best.bytes == min(point.bytes for point in found.frontier.points)
    assert set(found.frontier.best.packed) == {"gzip", "zstd"}
    assert [point.name for point in found.frontier.points[:3]] == ["fp16", "int8w", "int8"]


def test_the_artifact_says_how_it_was_made(found: Auto) -> None:
    canonical(found.artifact.path)
    loaded = artifact.load(found.artifact.path)
    assert loaded.name == "net_32x32_auto.tflite"
    assert (loaded.recipe, loaded.details["max_loss"], loaded.details["margin"]) == ("auto", 0.5, 0)
    assert loaded.details["levels"] == found.frontier.best.levels
    assert loaded.calibration["count"] == 4
    assert loaded.verification["images"] == 4
    # The loss against Keras is that against the fp32 file, which is as good as Keras.
    assert loaded.verification["iou"] == pytest.approx(-found.frontier.best.iou_loss, abs=1e-3)
    said = metadata.read(loaded.path).ours
    assert said is not None
    assert (said.network, said.recipe, said.parent) == ("net", "auto", loaded.parent)
    size = np.zeros((1, 32, 32, 3), np.uint8)
    assert runtime.load(loaded.path).logits(size).shape == (1, 32, 32, 2)


def test_the_record_becomes_a_picture(found: Auto) -> None:
    record = json.loads(found.record.read_text())
    assert record["points"][record["chosen"]]["bytes"] == found.frontier.best.bytes
    assert (record["reference"]["split"], record["reference"]["images"]) == ("val", 4)
    assert [s["level"] for s in record["sensitivities"]] == ["int8", "int4"]
    assert [c["layer"] for c in record["sensitivities"][0]["costs"]] == ["first", "second", "sum", "output"]
    svg = frontier.write(found.record)
    assert svg == found.record.with_suffix(".svg")
    ET.fromstring(svg.read_text())


def test_another_search_measures_no_sensitivity_anew(
    run: Path, found: Auto, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored: list[Path] = []
    score = Reference.score
    monkeypatch.setattr(
        Reference, "score", lambda self, *given: scored.append(given[0]) or score(self, *given)
    )
    again = auto(run, found.artifact.path.parent, AutoConfig(0.5, margin=0, fast=True))
    # fast: no 4 bits, and int8 fits. The two whole networks are measured, but float arithmetic is no choice.
    assert again.frontier.best.name == "int8"
    assert {path.name for path in scored} == {"trial.tflite"}
    assert len(scored) == 3


def test_where_nothing_fits_the_closest_is_named(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module._Trials, "_fits", lambda *_: False)
    with pytest.raises(
        FootsegError, match=r"nothing stays within 0.001 of fp32's IoU \(1 x standard .* fp16, loses"
    ):
        auto(run, tmp_path, AutoConfig(0.001, fast=True))
    assert not list(tmp_path.glob("*.tflite*"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_loss": 1.0}, "allowed loss of IoU is 1.0"),
        ({"max_loss": -0.1}, "allowed loss of IoU is -0.1"),
        ({"max_loss": float("nan")}, "allowed loss of IoU is nan"),
        ({"max_loss": 0.1, "images": 0}, "measured on images, not on 0"),
        ({"max_loss": 0.1, "margin": -1.0}, "margin is -1.0"),
        ({"max_loss": 0.1, "ranges": "wide"}, "unknown ranges 'wide'"),
    ],
)
def test_options_are_refused_before_work_begins(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AutoConfig(**options)


def test_a_file_that_loses_more_than_was_measured_gets_no_name(
    run: Path, found: Auto, tmp_path: Path
) -> None:
    from footseg.export import sensitivity, verify

    sample = verify.sample(run.parent / "feet", (32, 32), 4)
    masks = runtime.load(run).logits(sample.images).argmax(axis=-1).astype(np.uint8)
    own = verify.Sample("val", sample.names, sample.images, masks)
    fp32 = run.parent / "fp32.tflite"
    from footseg.export import freeze, tflite

    network = freeze.load_network(run / "model.keras")
    fp32.write_bytes(tflite.convert(freeze.freeze(network, run.parent / "saved_model")))
    against = sensitivity.reference(fp32, own)
    # Its own classes are the truth: fp32 loses nothing, and 4 bits cannot be as good.
    kept = module._verify(run / "model.keras", fp32, against, AutoConfig(0.0))
    assert kept.iou.value == pytest.approx(0, abs=1e-3)
    with pytest.raises(FootsegError, match="was not written as it was measured"):
        module._verify(run / "model.keras", found.artifact.path, against, AutoConfig(0.0))


def test_the_best_trade_is_lowered_first() -> None:
    def costs(level: str, *rows: tuple[str, float, int]) -> Sensitivity:
        made = tuple(
            QuantizationCost(0, "CONV_2D", name, name, 0.0, error, saved) for name, error, saved in rows
        )
        return Sensitivity(level, "f", "val", 1, 0.5, "", made)

    at_start = costs("int8", ("a", 0.0, 100), ("b", 0.0, 100), ("c", 0.4, 100), ("tiny", 0.0, 100))
    lowered = costs("int4", ("a", 0.4, 500), ("b", 0.2, 140), ("c", 0.5, 200), ("tiny", 0.0, 109))
    # Noise for a byte: a 0.16 / 400 = 0.0004, b 0.04 / 40 = 0.001, c (0.25 - 0.16) / 100 = 0.0009; tiny saves
    # 9 bytes where 10 are asked for.
    assert by_trade(at_start, lowered, 10) == ["a", "c", "b"]


@pytest.mark.parametrize(
    ("margin", "loss", "error", "fits"),
    [
        (0.0, 0.003, 0.002, True),
        (1.0, 0.003, 0.002, False),  # 0.005 of 0.004
        (1.0, 0.001, 0.002, True),
        (2.0, 0.001, 0.002, False),
        (0.0, 0.003, float("inf"), True),  # a single image, taken at its face
        (1.0, -0.01, float("inf"), False),
        (0.0, float("nan"), 0.0, False),
    ],
)
def test_the_margin_must_fit_too(margin: float, loss: float, error: float, fits: bool) -> None:
    config = AutoConfig(0.004, margin=margin)
    trials: Any = module._Trials(None, None, None, config, Path(), print)  # type: ignore[arg-type]
    assert trials._fits(module.sensitivity.Score(0.5, loss, error, 0.1)) is fits
