"""Certificates: made for an edge that has none, and checked before an engine sees them."""

import datetime

import pytest

from fairlead.base import x509

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def test_a_self_signed_pair_fits_together_and_has_its_names() -> None:
    chain, key = x509.self_signed(["a.example", "*.b.example"], now=NOW)
    assert x509.names(chain, key) == ("a.example", "*.b.example")


def test_a_key_of_another_certificate_is_refused() -> None:
    chain, _ = x509.self_signed(["a.example"], now=NOW)
    _, key = x509.self_signed(["a.example"], now=NOW)
    with pytest.raises(ValueError, match="not the certificate's"):
        x509.names(chain, key)


@pytest.mark.parametrize(
    "text", ["", "-----BEGIN CERTIFICATE-----", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"]
)
def test_what_is_no_certificate_is_refused(text: str) -> None:
    _, key = x509.self_signed(["a.example"], now=NOW)
    with pytest.raises(ValueError, match="cannot be read"):
        x509.names(text, key)


@pytest.mark.parametrize(
    ("host", "covered"),
    [("a.example", True), ("x.b.example", True), ("x.y.b.example", False), ("b.example", False), ("c.example", False)],
)
def test_a_wildcard_is_one_label(host: str, covered: bool) -> None:
    assert x509.covers(("a.example", "*.b.example"), host) == covered
