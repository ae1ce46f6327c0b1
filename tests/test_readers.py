"""Readers and runtimes of other people's that open every default file, and those that cannot."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from footseg import runtime, verifications
from footseg.data.folder import load_split, open_data
from footseg.export import plain
from footseg.export.clients import install
from footseg.export.clients.ask import Answer, ClientError, ask
from footseg.export.clients.compare import _read
from footseg.export.clients.known import named
from footseg.graphs.tflite import read

FAULT = Path(__file__).parents[1] / "docs" / "faults" / "transposed_convolution.tflite"
PRECISIONS = ("fp32", "fp16", "int8")
NOISE = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)


@pytest.fixture(scope="module")
def feet(tiny_data: Path) -> np.ndarray:
    """Drawn feet, as the network knows them."""
    return load_split(open_data(tiny_data), "test", (64, 64)).images


def asked(name: str, file: Path, images: np.ndarray = NOISE) -> Answer:
    """What a client gives; the test is skipped where it is not installed."""
    (client,) = named([name])
    if lacking := install.missing(client):
        pytest.skip(f"{client.title}: {lacking}")
    return ask(client, file, images, home=install.home())


def equal(name: str, file: Path, images: np.ndarray) -> float:
    """The share of pixels to which a client gives the class that the file has here."""
    here = runtime.load(file).logits(images).argmax(-1)
    return float((asked(name, file, images).values.argmax(-1) == here).mean())


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ["netron", "metadata_writer"])
def test_a_reader_finds_each_operator(name: str, precision: str, tiny_artifacts: dict[str, Path]) -> None:
    file = tiny_artifacts[precision]
    row = _read(verifications.Row(name, name), file, asked(name, file))
    assert row.ok, row.why
    assert row.operators == len(read(file).operators) > 40


@pytest.mark.slow
def test_the_writer_describes_a_file_that_says_nothing(
    tiny_artifacts: dict[str, Path], tmp_path: Path
) -> None:
    file = tmp_path / "plain.tflite"
    file.write_bytes(plain.pack(plain.unpack(tiny_artifacts["int8"].read_bytes())))
    answer = asked("metadata_writer", file)
    assert len(answer.values) == len(read(file).operators)


def test_a_reader_that_reads_otherwise_is_no_reader(tiny_artifacts: dict[str, Path]) -> None:
    file = tiny_artifacts["int8"]
    kinds = [operator.op for operator in read(file).operators]
    row = verifications.Row("netron", "Netron")
    same = _read(row, file, Answer(np.array([kind.replace("_", "").title() for kind in kinds]), "1"))
    assert (same.status, same.operators) == ("ok", len(kinds))
    # As whoever knows the older code alone reads what ai-edge-quantizer writes.
    other = _read(row, file, Answer(np.array(["ADD", *kinds[1:]]), "1"))
    assert (other.status, other.why) == ("failed", f"{kinds[0].replace('_', '').lower()} is add to it")
    fewer = _read(row, file, Answer(np.array(kinds[:-1]), "1"))
    assert fewer.why == f"it found {len(kinds) - 1} of {len(kinds)} operators"


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ["tflite_runtime", "tf2onnx"])
def test_a_runtime_gives_the_masks(
    name: str, precision: str, tiny_artifacts: dict[str, Path], feet: np.ndarray
) -> None:
    # Of integers, near-ties are rounded otherwise: at 64x64 a pixel more or less of each edge.
    least = 0.99 if precision == "int8" else 0.9999
    assert equal(name, tiny_artifacts[precision], feet) > least


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mnn", "ort_web"])
def test_a_runtime_of_onnx_gives_the_masks(
    name: str, tiny_artifacts: dict[str, Path], feet: np.ndarray
) -> None:
    assert equal(name, tiny_artifacts["onnx"], feet) > 0.9999


@pytest.mark.slow
def test_mnn_has_the_faults_that_are_reported(tiny_artifacts: dict[str, Path]) -> None:
    """Where this fails, MNN may have been mended: docs/clients.md and docs/faults say what it cannot."""
    (client,) = named(["mnn_tflite"])
    noise = np.random.default_rng(0).integers(0, 256, (1, 4, 4, 8), np.uint8)
    wrong = asked("mnn_tflite", FAULT, noise).values
    interpreter = runtime.interpreter(FAULT)
    (image,), (output,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.set_tensor(image["index"], runtime.to_float(noise))
    interpreter.invoke()
    right = interpreter.get_tensor(output["index"])
    assert np.abs(wrong - right).max() > right.std()
    with pytest.raises(ClientError, match="SIGSEGV"):
        ask(client, tiny_artifacts["fp16"], NOISE, home=install.home())


def test_a_faulty_reader_is_asked_by_name_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from footseg.export.clients import verifying

    monkeypatch.setattr(install, "missing", lambda client: None)
    names = [client.name for client in verifying.chosen([tmp_path / "a.tflite"], [])]
    assert "netron" in names
    assert "mnn_tflite" not in names
    (faulty,) = verifying.chosen([tmp_path / "a.tflite"], ["mnn_tflite"])
    assert faulty.by_name


@pytest.mark.parametrize(("name", "folder"), [("web", "litertjs-core"), ("ort_web", "onnxruntime-web")])
def test_packages_of_javascript_have_a_folder_each(name: str, folder: str) -> None:
    (client,) = named([name])
    assert client.modules == f"{folder}/node_modules"
    assert dataclasses.replace(client, npm=()).modules == ""
