"""How the benchmark of algorithms interpolates between its trainings, by hand."""

from pathlib import Path

import pytest

from footseg import files
from footseg.benchmarks.experiments.searches import PointTable, nearest


@pytest.mark.parametrize(
    ("value", "shares"),
    [
        (0.0, {0.25: 1}),  # beyond the outermost middles nothing is extrapolated
        (0.25, {0.25: 1}),
        (0.5, {0.25: 0.5, 0.75: 0.5}),
        (0.65, {0.25: 0.2, 0.75: 0.8}),
        (1.0, {0.75: 1}),
    ],
)
def test_shares_of_the_nearest_middles(value: float, shares: dict[float, float]) -> None:
    assert nearest(value, 0, 1, 2) == pytest.approx(shares)


def test_a_score_is_interpolated_in_both_directions(tmp_path: Path) -> None:
    # The first two of 16 parts of the rate from 1e-6 to 1e-2, the first two of 6 of dropout.
    kept = {
        "1.33e-06 0.0833 ce": 0.1,
        "2.37e-06 0.0833 ce": 0.3,
        "1.33e-06 0.25 ce": 0.2,
        "2.37e-06 0.25 ce": 0.4,
    }
    files.write_json(tmp_path / "trainings.json", kept)
    table = PointTable(tmp_path / "trainings.json", tmp_path)
    values = {"learning_rate": 10**-5.75, "network_options": {"dropout": 1 / 6}, "loss": ["ce"]}
    assert table.score(values) == pytest.approx(0.25)
