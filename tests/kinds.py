"""Networks that have every kind of layer between them: where one of a kind is enough, the rest is slow."""

from typing import Any

import pytest

from footseg import networks

# test_networks holds that no other network or variant has a kind of layer that none of these has.
KINDS = {
    ("enet", ""),
    ("fast_linknet", ""),
    ("mobileseg", ""),
    ("tiptoe", ""),
    ("unet", ""),
    ("unet", "U-Net-G"),
}


def each_network(*slow: str) -> list[Any]:
    """Every network's name, for ``parametrize``; ``slow`` are more that are."""
    return [_slow_unless((name, "") in KINDS and name not in slow, name) for name in networks.names()]


def each_variant() -> list[Any]:
    """Name and variant of every network, for ``parametrize``."""
    found = [(name, variant) for name in networks.names() for variant in networks.variants(name)]
    return [_slow_unless(one in KINDS, *one) for one in found]


def _slow_unless(quick: bool, *values: str) -> Any:
    return pytest.param(*values, marks=() if quick else pytest.mark.slow)
