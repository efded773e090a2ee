"""Hosts of rules: a DNS name, or `*.` and one (Ingress, Gateway API; RFC 1123). The table's own words stay its own."""

from __future__ import annotations

import re

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"(\*\.)?{_LABEL}(\.{_LABEL})*")


def mistake(host: str) -> str:
    """What is wrong with a rule's host, in lower case; "" when nothing is (no host is every host)."""
    if not host or (len(host) <= 253 and _HOST.fullmatch(host) and not re.fullmatch(r"[0-9.]+", host)):
        return ""
    return f"{host!r} is not a DNS name, and not *. before one"
