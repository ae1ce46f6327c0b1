"""What the comparison of TipToe with FastLinkNet calls met, by hand."""

from typing import Any

import pytest

from footseg.benchmarks.experiments.tiptoe import RECIPES, accuracy_goals, cost_goals


def row(images: str, network: str, recipe: str, val: float, test: float) -> dict[str, Any]:
    return {
        "images": images, "network": network, "recipe": recipe,
        "val": {"iou": {"mean": val}}, "test": {"iou": {"mean": test}},
    }  # fmt: skip


def test_each_network_counts_by_the_recipe_that_is_better_on_validation() -> None:
    short, small = RECIPES["composites"]
    rows = [
        row("photographs", "tiptoe", "default", 0.80, 0.70),
        row("photographs", "fast_linknet", "default", 0.75, 0.75),
        row("composites", "tiptoe", short, 0.60, 0.90),
        row("composites", "tiptoe", small, 0.65, 0.61),
        row("composites", "fast_linknet", short, 0.64, 0.61),
        row("composites", "fast_linknet", small, 0.63, 0.99),
    ]
    goals = {goal["goal"]: goal for goal in accuracy_goals(rows)}
    assert {name: goal["met"] for name, goal in goals.items()} == {
        "mean val IoU on photographs": True,
        "mean test IoU on photographs": False,
        "mean val IoU on composites": True,
        "mean test IoU on composites": True,
    }
    assert (goals["mean test IoU on composites"]["tiptoe"]) == 0.61
    assert goals["mean test IoU on photographs"]["ratio"] == pytest.approx(0.7 / 0.75, abs=5e-5)  # rounded


def test_costs_are_met_up_to_their_shares() -> None:
    costs = {
        "tiptoe": {"bytes": 125, "instructions on cortex-a53": 50, "instructions on cortex-a76": 51},
        "fast_linknet": {"bytes": 1000, "instructions on cortex-a53": 100, "instructions on cortex-a76": 100},
    }
    assert [(goal["goal"], goal["met"]) for goal in cost_goals(costs)] == [
        ("bytes", True),
        ("instructions on cortex-a53", True),
        ("instructions on cortex-a76", False),
    ]
