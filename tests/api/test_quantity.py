"""Quantities are exact."""

from decimal import Decimal

import pytest

from fairlead.api import quantity


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("100m", "0.1"),
        ("1", "1"),
        ("1.5Gi", str(3 * 2**29)),
        ("2e3", "2000"),
        ("1k", "1000"),
        ("5n", "0.000000005"),
        (".5", "0.5"),
        ("1E", "1e18"),
        ("-1", "-1"),
    ],
)
def test_values(text: str, value: str) -> None:
    assert quantity.parse(text) == Decimal(value)


@pytest.mark.parametrize("text", ["", "x", "1x", "1 Gi", "Gi", "1e999", "0x1"])
def test_what_is_not_a_quantity_is_refused(text: str) -> None:
    with pytest.raises(quantity.QuantityError):
        quantity.parse(text)


def test_thousandths_round_up() -> None:
    assert quantity.milli("100m") == 100
    assert quantity.milli("1u") == 1
    assert quantity.from_milli(1500) == "1500m"
    assert quantity.from_milli(2000) == "2"
