"""The certificate that the edge shows at hosts whose Ingress brings none: self-signed, made once, kept in pki/.

Browsers warn of it, as they should; it is made again when less than 30 days of it are left.
"""

from __future__ import annotations

import datetime
import os
from pathlib import Path

from fairlead.base import x509
from fairlead.routing import table

NAMES = ("localhost", "*.localhost")
IDENTITY = "@default"
DAYS = 365
_RENEW_SECONDS = 30 * 86400


def ensure(folder: Path, *, now: float) -> table.Certificate:
    """The pair in edge.crt and edge.key; both are made when one is missing or too old."""
    chain, key = _places(folder)
    try:
        if chain.stat().st_mtime + DAYS * 86400 - now > _RENEW_SECONDS:
            return read(folder)
    except OSError:
        pass
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = x509.self_signed(NAMES, now=datetime.datetime.fromtimestamp(now, datetime.UTC), days=DAYS)
    for path, text in zip((chain, key), made, strict=True):
        _write(path, text)
    return table.Certificate(id=IDENTITY, chain_pem=made[0], key_pem=made[1])


def read(folder: Path) -> table.Certificate:
    """The pair as it is. Raises OSError."""
    chain, key = _places(folder)
    return table.Certificate(id=IDENTITY, chain_pem=chain.read_text(), key_pem=key.read_text())


def _places(folder: Path) -> tuple[Path, Path]:
    return folder / "edge.crt", folder / "edge.key"


def _write(path: Path, text: str) -> None:
    temporary = path.with_suffix(path.suffix + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    temporary.replace(path)
