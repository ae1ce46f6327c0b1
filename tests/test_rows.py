"""Tables that the command line is made of, and what works for each row: none is without the other."""

import dataclasses
from pathlib import Path

import pytest

from footseg.benchmarks import targets
from footseg.benchmarks.android import runners
from footseg.compress.methods import METHODS, settings_of
from footseg.export.precisions import PRECISIONS
from footseg.search import costs, goals
from footseg.training import class_weights, config


def test_each_runner_and_each_cost_has_its_work() -> None:
    assert runners.RUNNERS.keys() == targets.RUNNERS.keys()
    assert costs.MEASURES.keys() == goals.COSTS.keys()


def test_a_precision_that_is_calibrated_computes_in_integers() -> None:
    for row in PRECISIONS.values():
        assert not row.calibrated or row.activations.startswith("int")
        assert row.calibrated or not row.integer_ends


def test_a_page_says_what_each_precision_is() -> None:
    text = (Path(__file__).parents[1] / "docs" / "export.md").read_text()
    table = text.partition("| precision | what it is |")[2].partition("\n\n")[0]
    assert [line for line in table.splitlines() if line.startswith("| `")] == [
        f"| `{name}` | {row.about} |" for name, row in PRECISIONS.items()
    ]


def test_help_names_each_class_weighting() -> None:
    (option,) = (o for o in dataclasses.fields(config.TrainConfig) if o.name == "class_weights")
    assert option.metadata["help"].startswith(", ".join(["none", *class_weights.METHODS]))


@pytest.mark.parametrize("name", METHODS)
def test_a_way_of_compressing_has_the_option_of_its_flag(name: str) -> None:
    pytest.importorskip("tensorflow", reason="retrains: pip install '.[train]'")
    row, kind = METHODS[name], settings_of(name)
    defaults = {option.name: option.default for option in dataclasses.fields(kind)}
    assert isinstance(defaults.get(row.option), row.kind or object)
    config.from_values(row.retraining)  # raises ValueError where one is no training option


def test_each_option_of_a_loss_is_a_training_option() -> None:
    losses = pytest.importorskip("footseg.training.losses", reason="needs Keras: pip install '.[train]'")
    for name in losses.LOSSES:
        assert callable(losses.combined(config.from_values({"loss": [name]})))
