"""Search spaces: what a file says, what a point means, what hyperopt draws, what is refused."""

import dataclasses
import json
import math
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from footseg import networks
from footseg.errors import FootsegError
from footseg.search import space as spaces
from footseg.search.space import Branch, Choice, Range
from footseg.training.config import TrainConfig, from_values

FIXED = {"network": "fast_linknet", "data": "feet"}
RATE = {"learning_rate": {"log_uniform": [1e-6, 1e-2]}}
# Everything that a space can hold: all kinds, fixed values, choices within choices, braces.
ALL = {
    **RATE,
    "epochs": {"integer": [10, 50], "step": 20},
    "batch": {"log_integer": [1, 4]},
    "flip": 0.25,
    "network_options": {"width": {"uniform": [0.25, 0.5], "step": 0.05}, "dropout": {"uniform": [0, 1]}},
    "loss": {
        "choice": [
            {"value": ["ce"]},
            {
                "value": ["{first}", "distill:{weight}"],
                "first": {"choice": ["ce", {"value": "focal", "focal_gamma": {"uniform": [0, 5]}}]},
                "weight": {"uniform": [0, 10]},
                "temperature": {"log_uniform": [1, 100]},
            },
        ]
    },
}


def draws(space: spaces.Space, number: int, algorithm: str = "rand") -> list[dict[str, Any]]:
    """``vals`` of so many trials, as hyperopt's own algorithms make them."""
    import hyperopt

    trials = hyperopt.Trials()
    hyperopt.fmin(
        lambda drawn: len(repr(drawn)) % 7,  # any loss that differs between points
        spaces.to_hyperopt(space),
        getattr(hyperopt, algorithm).suggest,
        max_evals=number,
        trials=trials,
        rstate=np.random.default_rng(0),
        show_progressbar=False,
        verbose=False,
    )
    return [trial["misc"]["vals"] for trial in trials.trials]


def prior(space: spaces.Space, number: int) -> list[dict[str, Any]]:
    """The same of random search, all drawn at once, which is much faster."""
    from hyperopt.base import Domain
    from hyperopt.rand import suggest_batch

    domain = Domain(lambda drawn: 0.0, spaces.to_hyperopt(space))
    ids = list(range(number))
    found, vals = suggest_batch(ids, domain, None, 0)
    drawn: list[dict[str, list[Any]]] = [{label: [] for label in vals} for _ in ids]
    for label in vals:
        for trial, value in zip(found[label], vals[label], strict=True):
            drawn[trial][label] = [value]
    return drawn


# ---- what a file says


def test_the_thesis_space_is_that_of_the_thesis() -> None:
    space = spaces.parse(spaces.load("thesis"), FIXED)
    distill = Branch(
        ["ce", "distill:{weight}"],
        "ce + distill",
        {"temperature": Range(1, 100, log=True), "weight": Range(0, 10)},
    )
    assert space.parameters == {
        "learning_rate": Range(1e-6, 1e-2, log=True),
        "network_options.dropout": Range(0, 1),
        "loss": Choice((Branch(["ce"], "ce"), Branch(["iou"], "iou"), distill)),
    }
    assert [(one.name, one.title, one.parent) for one in spaces.labels(space)] == [
        ("learning_rate", "learning rate", None),
        ("network_options.dropout", "dropout", None),
        ("loss", "loss", None),
        ("temperature@loss=2", "temperature", ("loss", 2)),
        ("weight@loss=2", "weight", ("loss", 2)),
    ]
    # The weight is part of a text, and no option.
    assert spaces.options(space) == {"learning_rate", "network_options.dropout", "loss", "temperature"}


def test_a_point_means_training_options() -> None:
    space = spaces.parse(spaces.load("thesis"), FIXED)
    common = {"learning_rate": 1e-3, "network_options.dropout": 0.5}
    assert spaces.values(space, {**common, "loss": 1}) == {
        "learning_rate": 1e-3,
        "network_options": {"dropout": 0.5},
        "loss": ["iou"],
    }
    point = {**common, "loss": 2, "temperature@loss=2": 20.0, "weight@loss=2": 1e-05}
    values = spaces.values(space, point)
    assert values == {
        "learning_rate": 1e-3,
        "network_options": {"dropout": 0.5},
        "loss": ["ce", "distill:1e-05"],
        "temperature": 20.0,
    }
    assert from_values(values).loss == ("ce", "distill:1e-05")
    assert spaces.shown(space, point) == {
        "learning rate": 1e-3, "dropout": 0.5, "loss": "ce + distill", "temperature": 20.0, "weight": 1e-05,
    }  # fmt: skip


def test_choices_within_choices_and_fixed_values() -> None:
    space = spaces.parse(ALL, FIXED)
    labels = {label.name: label for label in spaces.labels(space)}
    assert "flip" not in labels  # nothing is drawn
    inner = "focal_gamma@first@loss=1=1"
    assert labels[inner].parent == ("first@loss=1", 1)
    point = {
        "learning_rate": 1e-3, "epochs": 30, "batch": 4, "network_options.width": 0.3,
        "network_options.dropout": 0.1, "loss": 1, "first@loss=1": 1, inner: 2.5, "weight@loss=1": 3.0,
        "temperature@loss=1": 4.0,
    }  # fmt: skip
    assert spaces.values(space, point) == {
        "learning_rate": 1e-3, "epochs": 30, "batch": 4, "flip": 0.25,
        "network_options": {"width": 0.3, "dropout": 0.1},
        "loss": ["focal", "distill:3.0"], "focal_gamma": 2.5, "temperature": 4.0,
    }  # fmt: skip


def test_the_network_can_be_chosen_with_options_of_its_own() -> None:
    values = {
        "network": {
            "choice": [
                {"value": "enet", "network_options": {"internal_scale": {"choice": [2, 4]}}},
                {"value": "fast_linknet", "network_options.width": {"choice": [0.5, 1]}},
                {"value": "linknet", "network_options.width": 0.25},
            ]
        },
        "network_options.dropout": {"uniform": [0, 0.5]},  # all three have it
    }
    space = spaces.parse(values, {"data": "feet"})
    point = {"network": 2, "network_options.dropout": 0.25}
    assert spaces.values(space, point) == {
        "network": "linknet",
        "network_options": {"width": 0.25, "dropout": 0.25},
    }
    assert [label.title for label in spaces.labels(space)] == [
        "network", "internal scale", "width", "dropout",
    ]  # fmt: skip


def test_titles_are_unique_and_numbers_stay_numbers() -> None:
    rate = {"choice": [1e-3, 1e-2]}
    values = {
        "batch": {
            "choice": [
                {"value": 8, "learning_rate": rate},
                {"value": 16, "learning_rate": rate},
                {"value": 16, "epochs": 7},
            ]
        },
        "freeze_encoder": {"choice": [True, False]},
        "size": {"choice": [128, [256, 128]]},
    }
    space = spaces.parse(values, FIXED)
    assert [label.title for label in spaces.labels(space)] == [
        "batch", "learning rate (batch 8)", "learning rate (batch 16)", "freeze encoder", "size",
    ]  # fmt: skip
    flags = {"freeze_encoder": 0, "size": 1}
    assert spaces.shown(space, {"batch": 2, **flags}) == {
        "batch": "16 (2)", "freeze encoder": "yes", "size": "256x128",
    }  # fmt: skip
    assert spaces.shown(space, {"batch": 0, "learning_rate@batch=0": 1, **flags}) == {
        "batch": 8, "learning rate (batch 8)": 1e-2, "freeze encoder": "yes", "size": "256x128",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("values", "count"),
    [
        ({"epochs": {"integer": [3, 7]}}, 5),
        ({"epochs": {"integer": [10, 50], "step": 15}}, 3),  # 10, 25, 40
        ({"batch": {"log_integer": [1, 64]}}, 64),
        ({"flip": {"uniform": [0.25, 1], "step": 0.05}}, 16),
        ({"flip": {"uniform": [0, 1], "step": 0.1}, "batch": {"choice": [8, 16]}}, 22),
        # Nothing below the first two branches, 3 x 2 points below the third.
        (
            {
                "batch": {
                    "choice": [
                        8,
                        16,
                        {"value": 32, "epochs": {"integer": [1, 3]}, "seed": {"choice": [1, 2]}},
                    ]
                }
            },
            8,
        ),
        ({"batch": {"choice": [8, {"value": 32, "flip": {"uniform": [0, 1]}}]}}, None),
        (RATE, None),
    ],
)
def test_points_are_counted(values: dict[str, Any], count: int | None) -> None:
    assert spaces.count(spaces.parse(values, {})) == count


def test_steps_are_the_numbers_that_one_would_write() -> None:
    span = Range(0.25, 1.0, step=0.05)
    assert [span.nth(k) for k in range(16)] == [
        0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0,
    ]  # fmt: skip
    assert [span.index(span.nth(k)) for k in range(16)] == list(range(16))


def test_an_interval_has_no_ends() -> None:
    low, high = Range(0, 1).ends
    assert 0 < low < 1e-300
    assert 1 - 1e-15 < high < 1
    # Layers refuse a dropout of 1, losses a weight of 0, wherever rounding puts a draw.
    space = spaces.parse(spaces.load("thesis"), FIXED)
    for drawn in (0.0, 1.0, 1.0000000001):
        point = spaces.point_of(space, {"network_options.dropout": [drawn], "loss": []})
        assert 0 < point["network_options.dropout"] < 1


def test_read_needs_no_keras() -> None:
    """Pages and tables are made where only files are measured."""
    program = (
        "import sys; from footseg.search import space; s = space.read(space.load('thesis'));"
        "assert len(space.labels(s)) == 5; assert not {'keras', 'tensorflow', 'hyperopt'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize("name", spaces.names())
def test_our_spaces_can_be_trained(name: str) -> None:
    network = name if name in networks.names() else "fast_linknet"
    fixed = {} if "network" in spaces.load(name) else {"network": network}
    space = spaces.parse(spaces.load(name), fixed)
    for vals in prior(space, 20):
        from_values({**fixed, **spaces.values(space, spaces.point_of(space, vals))})
    assert spaces.read(spaces.load(name)) == space


def test_every_combination_of_fast_linknets_space_is_a_network() -> None:
    """The strides are checked as the network is built: here, for the most that they can be together."""
    model = networks.build("fast_linknet", (256, 256, 3), 2, width=0.25, downscale=4, first_stride=2)
    assert model.output_shape == (None, 256, 256, 2)


# ---- hyperopt


def test_two_thousand_draws_are_what_the_space_says() -> None:
    space = spaces.parse(ALL, FIXED)
    drawn = prior(space, 2000)
    points = [spaces.point_of(space, vals) for vals in drawn]
    limits = {
        "learning_rate": (1e-6, 1e-2), "epochs": (10, 50), "batch": (1, 4), "loss": (0, 1),
        "network_options.width": (0.25, 0.5), "network_options.dropout": (0, 1), "weight@loss=1": (0, 10),
        "temperature@loss=1": (1, 100), "first@loss=1": (0, 1), "focal_gamma@first@loss=1=1": (0, 5),
    }  # fmt: skip
    below, deeper = {label for label in limits if "@" in label}, {"focal_gamma@first@loss=1=1"}
    for point, vals in zip(points, drawn, strict=True):
        assert {type(value) for value in point.values()} <= {int, float}
        assert spaces.vals_of(space, point) == vals
        assert json.loads(json.dumps(point)) == point
        expected = set(limits) - below
        if point["loss"] == 1:
            expected |= below if point["first@loss=1"] == 1 else below - deeper
        assert set(point) == expected
        for label, value in point.items():
            low, high = limits[label]
            assert low <= value <= high
        spaces.values(space, point)
    seen = {label: {point[label] for point in points if label in point} for label in limits}
    assert seen["epochs"] == {10, 30, 50}
    assert seen["batch"] == {1, 2, 3, 4}
    assert seen["network_options.width"] == {0.25, 0.3, 0.35, 0.4, 0.45, 0.5}
    assert seen["loss"] == seen["first@loss=1"] == {0, 1}


@pytest.mark.parametrize(
    ("given", "shares"),
    [
        # hyperopt's quniform(3, 6, 1) would give the ends half of the others' share.
        ({"integer": [3, 6]}, {3: 1 / 4, 4: 1 / 4, 5: 1 / 4, 6: 1 / 4}),
        ({"integer": [10, 50], "step": 20}, {10: 1 / 3, 30: 1 / 3, 50: 1 / 3}),
        # ln 1.5/0.5, ln 2.5/1.5, ln 3.5/2.5, ln 4.5/3.5 over ln 4.5/0.5
        ({"log_integer": [1, 4]}, {1: 0.5, 2: 0.2325, 3: 0.1531, 4: 0.1144}),
        ({"choice": [8, 16]}, {8: 1 / 2, 16: 1 / 2}),
    ],
)
def test_whole_numbers_get_their_share(given: dict[str, Any], shares: dict[int, float]) -> None:
    space, number = spaces.parse({"epochs": given}, {}), 4000
    found = Counter(
        spaces.values(space, spaces.point_of(space, vals))["epochs"] for vals in prior(space, number)
    )
    assert set(found) == set(shares)
    for value, share in shares.items():
        # Four standard deviations of a binomial share; half a share would be 19 off at 1/4.
        assert abs(found[value] / number - share) < 4 * math.sqrt(share * (1 - share) / number)


@pytest.mark.parametrize("algorithm", ["rand", "tpe", "anneal"])
def test_points_go_to_hyperopt_and_back(algorithm: str) -> None:
    """TPE draws by itself from its 21st point on, annealing from its second."""
    space = spaces.parse(ALL, FIXED)
    for vals in draws(space, 30, algorithm):
        point = spaces.point_of(space, vals)
        assert spaces.vals_of(space, point) == vals
        spaces.values(space, point)


def test_a_choice_of_one_with_parameters_can_be_drawn() -> None:
    values = {"loss": {"choice": [{"value": ["ce", "iou:{w}"], "w": {"uniform": [0, 2]}}]}}
    space = spaces.parse(values, FIXED)
    for vals in draws(space, 25, "tpe"):
        point = spaces.point_of(space, vals)
        assert spaces.values(space, point)["loss"] == ["ce", f"iou:{point['w@loss=0']}"]


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ({}, "the point has no 'batch'"),
        ({"batch": 2, "epochs@batch=1": 3}, "has batch = 2"),
        ({"batch": 1}, "has no 'epochs@batch=1'"),
        ({"batch": 0, "epochs@batch=1": 3}, "has 'epochs@batch=1'"),
        ({"batch": 0, "steps": 3}, "has 'steps'"),
    ],
)
def test_points_of_other_spaces_are_refused(point: dict[str, int], message: str) -> None:
    space = spaces.parse({"batch": {"choice": [8, {"value": 16, "epochs": {"integer": [1, 9]}}]}}, {})
    with pytest.raises(ValueError, match=message):
        spaces.values(space, point)


# ---- teachers


def test_without_a_teacher_what_needs_one_is_left_out() -> None:
    values, left_out = spaces.without_teacher(spaces.load("thesis"))
    assert left_out == ("ce + distill",)
    assert spaces.labels(spaces.parse(values, FIXED))[-1].name == "loss"
    assert len(values["loss"]["choice"]) == 2
    assert spaces.without_teacher(values) == (values, ())
    own = {"loss": {"choice": [{"value": ["ce", "hint"], "teacher": "big"}, "iou"]}}
    assert spaces.without_teacher(own) == (own, ())
    above = {"teacher": "big", **spaces.load("thesis")}
    assert spaces.without_teacher(above) == (above, ())
    inner = {"batch": {"choice": [8, {"value": 16, "loss": {"choice": ["ce", "attention", "distill:2"]}}]}}
    assert spaces.without_teacher(inner) == (
        {"batch": {"choice": [8, {"value": 16, "loss": {"choice": ["ce"]}}]}},
        ("attention", "distill:2"),
    )
    with pytest.raises(ValueError, match="every loss of this space needs a teacher: give one with --teacher"):
        spaces.without_teacher({"loss": {"choice": [["ce", "distill"]]}})


# ---- what is refused


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "nothing varies"),
        ({"epochs": 30, "batch": {"choice": [8]}}, "nothing varies"),
        ({"learning_rat": 1}, "no option 'learning_rat': did you mean 'learning_rate'"),
        ({"widht": {"uniform": [0, 1]}}, "did you mean 'network_options.width', which is the network's"),
        ({"network_option": {"width": {"uniform": [0, 1]}}}, "did you mean 'network_options'"),
        ({"network_options": {"widht": 1}}, "fast_linknet has no option 'widht': did you mean 'width'"),
        ({"network_options": 1}, "is not a table"),
        ({"network_options": {"width": 1}, "network_options.width": 1}, "width is there twice"),
        ({"data": {"choice": ["a", "b"]}}, "over one data set"),
        ({"network": {"choice": ["enet"]}}, "network is in the space, and fixed as 'fast_linknet'"),
        (
            {"learning_rate": {"loguniform": [1, 2]}},
            "no kind of range 'loguniform': did you mean 'log_uniform'",
        ),
        ({"learning_rate": {}}, "learning_rate is empty: give one of uniform,"),
        ({"learning_rate": {"step": 1}}, "no kind of range 'step'"),
        ({"learning_rate": {"uniform": [0, 1], "choice": [1]}}, "is uniform and choice: give one"),
        ({"learning_rate": {"uniform": [0, 1], "steps": 1}}, "no kind of range 'steps'"),
        ({"learning_rate": {"uniform": 1}}, "uniform = 1 is not two numbers: write uniform = "),
        ({"learning_rate": {"uniform": [0, 1, 2]}}, "is not two numbers"),
        ({"learning_rate": {"uniform": [0, math.inf]}}, "is not two numbers"),
        ({"learning_rate": {"uniform": [False, True]}}, "is not two numbers"),
        ({"epochs": {"integer": [1.0, 3]}}, "is not two whole numbers"),
        ({"learning_rate": {"uniform": [1, 1]}}, r"uniform = \[1, 1\] is empty: the lowest must come first"),
        ({"learning_rate": {"log_uniform": [1e-2, 1e-6]}}, "is empty"),
        ({"learning_rate": {"log_uniform": [0, 1]}}, "has no logarithm"),
        ({"batch": {"log_integer": [0, 8]}}, "has no logarithm"),
        ({"learning_rate": {"log_uniform": [1, 2], "step": 0.1}}, "takes no step"),
        ({"flip": {"uniform": [0, 1], "step": 0}}, "step = 0: a step is a number above 0"),
        ({"flip": {"uniform": [0, 1], "step": 1.5}}, "at most what the range is wide"),
        ({"epochs": {"integer": [1, 9], "step": 0.5}}, "a step is a whole number"),
        ({"epochs": {"uniform": [10, 50]}}, r"takes whole numbers: write { integer = \[10, 50\] }"),
        ({"network_options.downscale": {"uniform": [1, 4]}}, "takes whole numbers"),
        ({"loss": {"uniform": [0, 1]}}, "loss = .* is not a list of names"),
        ({"learning_rate": {"uniform": [-1, 1]}}, "learning_rate is -1.0: it must be more than 0"),
        ({"ema": {"uniform": [0, 1.5]}}, "ema is 1.5: it must be at least 0 and less than 1"),
        ({"ema": {"uniform": [0, 1], "step": 0.1}}, "ema is 1.0: it must be"),
        ({"epochs": {"integer": [0, 5]}}, "epochs is 0: it must be at least 1"),
        ({"epochs": "many"}, "is not a whole number"),
        ({"batch": {"choice": []}}, r"batch: choice = \[\] is no list of values"),
        ({"batch": {"choice": 8}}, "is no list of values"),
        ({"batch": {"choice": [8, 16], "step": 8}}, "a choice has no step"),
        ({"batch": {"choice": [8, 0]}}, "batch is 0: it must be at least 1"),
        ({"batch": {"choice": [8, {"epochs": 3}]}}, "has no value: write { value = "),
        ({"batch": {"choice": [8, 16, 8]}}, "batch: 8 is there twice"),
        ({"learning_rate": {"choice": [1, 1.0]}}, "1.0 is there twice"),
        ({"loss": {"choice": ["ce", ["ce"]]}}, "ce is there twice"),
        ({"loss": {"choice": [["ce"], ["ioo"]]}}, "no loss 'ioo': did you mean 'iou'"),
        ({"network_options.width": {"choice": [1, "wide"]}}, "takes a number as width, not 'wide'"),
        ({"network_options.downscale": {"choice": [1, 2.0]}}, "takes a whole number as downscale, not 2.0"),
        (
            {"batch": {"choice": [{"value": 8, "epoch": 3}]}},
            "batch 8, no option 'epoch': did you mean 'epochs'",
        ),
        ({"batch": {"choice": [{"value": 8, "epochs": 0}]}}, "batch 8, epochs is 0"),
        ({"batch": {"choice": [8, {"value": 9, "batch": 9}]}}, "batch can be drawn twice for one trial"),
        (
            {"epochs": 3, "batch": {"choice": [8, {"value": 9, "epochs": 9}]}},
            "epochs can be drawn twice for one trial",
        ),
        ({"loss": ["ce", "distill:{weight}"]}, "loss: nothing fills {weight} in .* weight = { uniform = "),
        ({"loss": {"choice": ["ce", {"value": ["iou:{w}"], "epochs": 3}]}}, "nothing fills {w}"),
        ({"loss": {"choice": ["ce", {"value": ["iou:{w}"], "w": {"choice": [["a"]]}}]}}, "nothing fills {w}"),
        (
            {"loss": {"choice": ["ce", {"value": ["iou:{w}"], "w": {"uniform": [-1, 1]}}]}},
            "must be a positive",
        ),
    ],
)
def test_a_wrong_space_is_refused_in_one_line(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        spaces.parse(values, FIXED)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "fixed", "message"),
    [
        ({"network_options.width": {"uniform": [0, 1]}}, {}, "say which network this is an option of"),
        (
            {"network": {"choice": ["fast_linknet", "unet"]}, "network_options.width": {"uniform": [0.5, 1]}},
            {},
            "unet has no option 'width'",
        ),
        (
            {"network": {"choice": ["linknet", {"value": "enet", "network_options": {"downscale": 2}}]}},
            {},
            "network enet, enet has no option 'downscale'",
        ),
        ({"network": {"choice": ["linknet", "fast_linket"]}}, {}, "did you mean 'fast_linknet'"),
        ({"network": {"choice": ["linknet", 3]}}, {}, "network = 3 is not a text"),
        (RATE, {"learning_rate": 1e-3}, "learning_rate is in the space, and fixed as 0.001: leave one"),
        (
            {"network_options.width": {"uniform": [0.5, 1]}},
            {"network": "linknet", "network_options": {"width": 1.0}},
            "network_options.width is in the space, and fixed as 1.0",
        ),
    ],
)
def test_networks_and_fixed_options(values: dict[str, Any], fixed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        spaces.parse(values, fixed)


def test_files_that_are_no_spaces(tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("learning_rate = {")
    with pytest.raises(FootsegError, match=r"broken\.toml is not valid TOML"):
        spaces.load(str(broken))
    with pytest.raises(
        FootsegError, match="no space 'thesys' of ours, nor such a file: did you mean 'thesis'"
    ):
        spaces.load("thesys")
    with pytest.raises(FootsegError, match="cannot be read"):
        spaces.load(str(tmp_path))
    good = tmp_path / "good.toml"
    good.write_text("learning_rate = { log_uniform = [1e-6, 1e-2] }\nnetwork_options.width = 0.5\n")
    assert spaces.load(str(good)) == {**RATE, "network_options": {"width": 0.5}}


def test_every_training_option_but_the_data_can_be_searched() -> None:
    """Each by two values that it takes, chosen by its type."""
    others: dict[str, list[Any]] = {
        "network": ["enet", "linknet"],
        "precision": ["float32", "mixed_float16"],
        "size": [128, 256],
    }
    for option in dataclasses.fields(TrainConfig):
        if option.name in ("data", "network_options"):
            continue
        pair: dict[type, list[Any]] = {
            bool: [True, False],
            int: [1, 2],
            float: [0.125, 0.25],
            str: ["outer", "direct"],
        }
        listed = others.get(option.name, pair.get(type(option.default), [["ce"], ["iou"]]))
        space = spaces.parse({option.name: {"choice": listed}}, {})
        assert spaces.values(space, {option.name: 1}) == {option.name: listed[1]}
