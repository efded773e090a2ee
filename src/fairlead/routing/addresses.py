"""Addresses and networks as users write them, in one form.

Kubernetes accepted leading zeros and blanks for years (KEP-4858), and objects with them live on: `010.0.0.1` is
10.0.0.1. What is no address at all is "".
"""

from __future__ import annotations

import functools
import ipaddress
import re

_ZEROS = re.compile(r"(^|[./])0+(?=[0-9])")


_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_CANONICAL4 = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}")


def canonical(text: str) -> str:
    """The address in its one form; "" for what is none. An IPv4 address mapped to IPv6 is IPv4."""
    return text if _CANONICAL4.fullmatch(text) else _canonical(text)


@functools.lru_cache(maxsize=65536)
def _canonical(text: str) -> str:
    try:
        parsed = ipaddress.ip_address(_plain(text))
    except ValueError:
        return ""
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return str(mapped or parsed)


def canonical_network(text: str) -> str:
    """The network in its one form; "" for what is none."""
    try:
        return str(ipaddress.ip_network(_plain(text), strict=False))
    except ValueError:
        return ""


def family(address: str) -> str:
    """IPv4, IPv6, or "" for no address."""
    if not address:
        return ""
    return "IPv6" if ":" in address else "IPv4"


def _plain(text: str) -> str:
    stripped = text.strip()
    return stripped if ":" in stripped else _ZEROS.sub(r"\1", stripped)
