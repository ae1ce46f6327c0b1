"""What may vary in a search: ranges of numbers, and choices whose branches have parameters of their own."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeAlias


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``.

    Without ``step`` the ends themselves are never drawn: a dropout from 0 to 1 is less than 1, a weight from
    0 to 10 more than 0. With it the values are low, low + step, ... as far as ``high``, all equally likely.
    ``whole`` numbers include both ends; ``log`` draws the logarithm uniformly (a whole number then as likely
    as the interval of half a unit on both its sides).
    """

    low: float
    high: float
    log: bool = False
    step: float = 0.0
    whole: bool = False

    @property
    def count(self) -> int | None:
        """How many values there are; None where infinitely many."""
        if not (self.whole or self.step):
            return None
        # Decimals as they were written: (1.0 - 0.25) / 0.05 is 14.999999999999998 in binary.
        return int((_decimal(self.high) - _decimal(self.low)) / _decimal(self.step or 1)) + 1

    def nth(self, index: int) -> float | int:
        """The value of a step: 0.25 + 1 * 0.05 is 0.3, not 0.30000000000000004."""
        value = _decimal(self.low) + index * _decimal(self.step or 1)
        return int(value) if self.whole else float(value)

    def index(self, value: float) -> int:
        """Which step a value is, counted from 0."""
        return round((value - self.low) / (self.step or 1))

    @property
    def ends(self) -> tuple[float | int, float | int]:
        """The smallest and the largest value that can be drawn."""
        if self.count is not None:
            return self.nth(0), self.nth(self.count - 1)
        return math.nextafter(self.low, self.high), math.nextafter(self.high, self.low)


def _decimal(number: float) -> Decimal:
    return Decimal(str(number))


@dataclass(frozen=True)
class Branch:
    """One value of a choice, and what varies only where it is taken.

    Texts in ``value`` may hold names of ``parameters`` in braces: ``distill:{weight}``.
    """

    value: Any
    title: str
    parameters: "Mapping[str, Parameter]" = field(default_factory=dict)

    def filled(self, found: Mapping[str, Any]) -> Any:
        """The value with the names in braces filled in; numbers with all digits, as they are read back."""
        return _filled(self.value, found)


@dataclass(frozen=True)
class Choice:
    """One of several values; one alone, without parameters, is fixed."""

    branches: tuple[Branch, ...]

    @property
    def fixed(self) -> bool:
        """Whether there is nothing to choose."""
        return len(self.branches) == 1 and not self.branches[0].parameters


def placeholders(value: Any) -> tuple[str, ...]:
    """The names in braces of a text or of a list of texts."""
    if isinstance(value, list | tuple):
        return tuple(name for item in value for name in placeholders(item))
    return tuple(re.findall(r"\{([^{}]*)\}", value)) if isinstance(value, str) else ()


def _filled(value: Any, found: Mapping[str, Any]) -> Any:
    if isinstance(value, list | tuple):
        return [_filled(item, found) for item in value]
    if not isinstance(value, str):
        return value
    return re.sub(r"\{([^{}]*)\}", lambda braces: str(found[braces[1]]), value)


Parameter: TypeAlias = Range | Choice


@dataclass(frozen=True)
class Space:
    """All that varies, and what is fixed for all trials, by the names of training options.

    An option of the network is named ``network_options.NAME``.
    """

    parameters: Mapping[str, Parameter]
