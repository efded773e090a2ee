"""`resource.Quantity`: "100m", "1.5Gi", "2e3" as exact numbers, and back as Kubernetes writes them.

Refuses everything that is not a quantity with `QuantityError`.
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal


class QuantityError(ValueError):
    """The text is not a quantity."""


_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_SHAPE = re.compile(
    r"^(?P<number>[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(?P<suffix>[eE][+-]?[0-9]+|[KMGTPE]i|[numkMGTPE]?)$"
)


def parse(text: str | float) -> Decimal:
    """The exact value. Raises QuantityError."""
    match = _SHAPE.match(str(text))
    if match is None:
        raise QuantityError(f"{text!r} is not a quantity (such as 100m, 1.5 or 128Mi)")
    number, suffix = Decimal(match["number"]), match["suffix"]
    if suffix in _BINARY:
        return number * _BINARY[suffix]
    if suffix in _DECIMAL:
        return number.scaleb(_DECIMAL[suffix])
    exponent = int(suffix[1:])
    if abs(exponent) > 30:
        raise QuantityError(f"{text!r}: the exponent is out of range")
    return number.scaleb(exponent)


def milli(text: str | float) -> int:
    """Thousandths, rounded up as `Quantity.MilliValue` does."""
    return int((parse(text) * 1000).to_integral_value(ROUND_CEILING))


def value(text: str | float) -> int:
    """Whole units, rounded up as `Quantity.Value` does."""
    return int(parse(text).to_integral_value(ROUND_CEILING))


def from_milli(thousandths: int) -> str:
    """The canonical decimal text: 1500 -> "1500m", 2000 -> "2"."""
    return f"{thousandths // 1000}" if thousandths % 1000 == 0 else f"{thousandths}m"
