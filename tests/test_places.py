"""What can be compared: places, and the file that ratios are taken to."""

import dataclasses
from typing import Any

import pytest

from footseg.benchmarks import places
from footseg.benchmarks.measurement import Measurement
from tests.test_measurement import a_measurement, android


def of(recipe: str, form: str = "tflite") -> Any:
    return dataclasses.replace(a_measurement().artifact, recipe=recipe, format=form)


@pytest.mark.parametrize(
    ("files", "first"),
    [
        ([("int8", "tflite"), ("fp32", "onnx"), ("fp32", "tflite"), ("fp32", "tflite")], 2),
        ([("int8", "tflite"), ("fp32", "onnx")], 0),
        ([("", "tflite")], 0),
    ],
)
def test_files_are_held_against_the_first_fp32_tflite_else_the_first(
    files: list[tuple[str, str]], first: int
) -> None:
    assert places.baseline([of(*file) for file in files]) == first


def test_cores_of_one_phone_are_places_of_their_own() -> None:
    def on(*cores: int) -> Measurement:
        return android(conditions={"pinned_cores": list(cores)})

    little, big, anywhere = on(0, 1, 2, 3, 6), on(6, 7), on()
    assert [places.device_key(m).how for m in (little, big, anywhere)] == [
        "1 thread, cores 0-3,6",
        "1 thread, cores 6-7",
        "1 thread",
    ]
    assert [len(members) for _, members in places.by_device([little, big, little, anywhere])] == [2, 1, 1]
    # Order is not what makes a place.
    assert places.device_key(on(7, 6)) == places.device_key(big)


def test_of_a_file_measured_twice_in_a_place_the_last_counts() -> None:
    first, again = a_measurement(created="first"), a_measurement(created="again")
    elsewhere = a_measurement(created="elsewhere", threads=2)
    assert [m.created for m in places.latest([first, elsewhere, again])] == ["again", "elsewhere"]


def test_one_core_is_one_core() -> None:
    assert places.Place("measured", "A phone", 1, "7").words == "A phone, 1 thread, on core 7 only"
    assert places.Place("measured", "A phone", 2, "4-6").words == "A phone, 2 threads, on cores 4-6 only"
