"""The picture of a search, held against its record."""

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from footseg import records
from footseg.benchmarks.pages import frontier
from footseg.errors import FootsegError
from footseg.mixtures import Frontier


def point(name: str, size: int, loss: float, fits: bool = True, **levels: str) -> dict[str, Any]:
    return {
        "name": name,
        "levels": levels,
        "bytes": size,
        "iou": 0.8 - loss,
        "iou_loss": loss,
        "iou_loss_error": 0.001,
        "logit_error": 0.01,
        "operators": 3,
        "delegated": 2,
        "partitions": 2,
        "fits": fits,
        "packed": {},
    }


def cost(layer: str, loss: float) -> dict[str, Any]:
    return {
        "index": 0,
        "kind": "CONV_2D",
        "output": layer,
        "layer": layer,
        "iou_loss": loss,
        "logit_error": 10 * abs(loss),
        "bytes_saved": 100,
        "snr_db": None,
        "cosine": None,
    }


MEASURED = {"file": "fp32.tflite", "split": "val", "images": 10, "iou": 0.8, "measured_on": ""}
RECORD: dict[str, Any] = {
    "file": "net_64x64_auto.tflite",
    "network": "net",
    "max_loss": 0.004,
    "margin": 1,
    "reference": {"iou": 0.8, "bytes": 8_000_000, "split": "val", "images": 10},
    "chosen": 2,
    "points": [
        point("int8", 2_000_000, 0.001),
        point("int8; 2 in int4", 1_000_000, 0.006, False, one="int4", two="int4"),
        point("int8; 1 in int4", 1_500_000, 0.002, one="int4"),
    ],
    "sensitivities": [
        MEASURED | {"level": "int8", "costs": [cost("one", 0.001), cost("<two>", -0.0005)]},
        MEASURED | {"level": "int4", "costs": [cost("one", 0.002)]},
    ],
    "speed": {"ratio": 1.2},
}


def numbers(svg: str, pattern: str) -> list[tuple[float, ...]]:
    return [tuple(map(float, match)) for match in re.findall(pattern, svg)]


def test_every_point_is_a_mark_and_the_chosen_one_is_ringed() -> None:
    svg = frontier.frontier(records.of(Frontier, RECORD))
    marks = {
        kind: numbers(svg, rf'class="{kind}(?: ringed)?" cx="([\d.]+)" cy="([\d.]+)"')
        for kind in (frontier.WITHIN, frontier.BEYOND)
    }
    assert len(marks[frontier.WITHIN]) == 3  # int8, the chosen one and fp32
    (beyond,) = marks[frontier.BEYOND]
    (ring,) = numbers(svg, r'class="[^"]* ringed" cx="([\d.]+)" cy="([\d.]+)"')
    assert ring in marks[frontier.WITHIN]
    # Left is smaller, up loses more: the limit of 0.004 runs halfway between 0.002 and 0.006.
    (limit,) = re.findall(r'class="limit" d="M[\d.]+ ([\d.]+)L', svg)
    assert beyond[0] < ring[0]
    assert float(limit) == pytest.approx((beyond[1] + ring[1]) / 2, abs=0.1)
    # The front, smallest first: what is larger and loses more than another (here nothing) is not on it.
    (front,) = re.findall(r'class="front" d="([^"]+)"', svg)
    corners = {tuple(map(float, pair)) for pair in re.findall(r"[ML]([\d.]+) ([\d.]+)", front)}
    assert corners >= {beyond, *marks[frontier.WITHIN]}
    assert "allowed: 0.004, 1 x standard error included" in svg
    assert [name for name in ("chosen", "int8", "fp32") if f">{name}</text>" in svg] == [
        "chosen",
        "int8",
        "fp32",
    ]


def test_bars_are_as_long_as_the_loss() -> None:
    svg = frontier.sensitivities(records.of(Frontier, RECORD))
    width: dict[tuple[str, str], float] = {}
    for found, layer, level in re.findall(r'width="([\d.]+)" height="[\d.]+"><title>(\S+) in (\w+):', svg):
        width.setdefault((layer, level), float(found))  # The second column is that of the logits.
    # IoU lost: 0.001, -0.0005 and 0.002; each width is rounded to 0.1 px.
    assert width["one", "int4"] == pytest.approx(2 * width["one", "int8"], abs=0.3)
    assert width["one", "int8"] == pytest.approx(2 * width["&lt;two&gt;", "int8"], abs=0.3)
    assert re.findall(r'class="label"[^>]*>(int\d)<', svg) == ["int4"]
    assert re.findall(r'class="tick" x="1000" [^>]*>(int\d)<', svg) == ["int8"]


def test_the_page_is_one_svg_that_says_what_it_shows(tmp_path: Path) -> None:
    record = tmp_path / "net_64x64_auto_frontier.json"
    record.write_text(json.dumps(RECORD))
    out = frontier.write(record)
    words = "".join(ET.fromstring(out.read_text()).itertext())
    assert "1.50 MB, fp32 8.00 MB; IoU -0.0020 ± 0.0010 from 0.8000 on 10 images of val" in words
    assert "others may lose more" in words
    assert "2 of 3 operators in XNNPACK, in 2 pieces; 1.20 of fp32's time" in words
    assert "slower than fp32" in words
    assert "href" not in out.read_text()


def test_another_file_is_refused(tmp_path: Path) -> None:
    record = tmp_path / "metrics.json"
    record.write_text("{}")
    with pytest.raises(FootsegError, match="no record of a search"):
        frontier.write(record)
    assert not (tmp_path / "metrics.svg").exists()
