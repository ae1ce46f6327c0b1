"""Classes of models and data sets by name: the same, other ones, or the same in another order."""

from pathlib import Path

import pytest

from footseg import class_names
from footseg.artifact import Artifact
from footseg.errors import FootsegError
from footseg.files import sha256

MODEL, DATA = Path("m.tflite"), Path("feet")


@pytest.mark.parametrize("theirs", [(), ("background", "foot"), ("a", "b", "c")])
def test_nothing_is_said_of_names_that_agree_are_not_known_or_of_another_number(
    theirs: tuple[str, ...],
) -> None:
    assert class_names.compared(MODEL, theirs, DATA, ("background", "foot")) == ""


def test_other_names_are_said() -> None:
    said = class_names.compared(MODEL, ("floor", "shoe"), DATA, ("background", "foot"))
    assert said == (
        "m.tflite has the classes floor, shoe, feet has background, foot: they are compared by their numbers"
    )


@pytest.mark.parametrize("theirs", [("foot", "background"), ("foot", "hand"), ("hand", "background")])
def test_a_name_of_two_numbers_is_refused(theirs: tuple[str, ...]) -> None:
    with pytest.raises(FootsegError, match="the same names in another order"):
        class_names.compared(MODEL, theirs, DATA, ("background", "foot"))


def test_a_sidecar_names_them_and_a_damaged_one_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "m.onnx"
    model.write_bytes(b"a model")
    assert class_names.of_model(model) == ()
    sidecar = Artifact(model, "onnx", sha256(model), classes=("background", "shoe")).save_sidecar()
    assert class_names.of_model(model) == ("background", "shoe")
    assert capsys.readouterr().err == ""
    sidecar.write_text("{")
    assert class_names.of_model(model) == ()
    assert "class names are not known: " in capsys.readouterr().err
