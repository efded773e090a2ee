"""The cluster's certificates: one CA, the server's, and client certificates signed by it. EC P-256, 0600 keys.

Made when first needed and kept in the state folder's `pki/`; the server's is made again when it lacks a name or
address, or has under 30 days left, at the start or while it runs. `cryptography` is imported only when
something must be made.
"""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

NAMES = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)
ADDRESSES = ("127.0.0.1", "::1")
CA_DAYS = 3650
SERVER_DAYS = 365
RENEW_DAYS = 30
LOOK_SECONDS = 6 * 3600.0


def ensure(folder: Path, *, extra: Iterable[str], now: float) -> None:
    """Makes what is missing in the folder: ca.crt, ca.key, server.crt, server.key, sa.key."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    wanted = sorted({*NAMES, *ADDRESSES, *extra})
    made = not (folder / "ca.crt").exists() or not (folder / "ca.key").exists()
    if made:
        _make_ca(folder, now)
    if made or not _server_fits(folder, wanted, now):
        _make_server(folder, wanted, now)
    if not (folder / "sa.key").exists():
        _write(folder / "sa.key", _pem(_new_key()))


def _server_fits(folder: Path, wanted: list[str], now: float) -> bool:
    try:
        made = json.loads((folder / "server.json").read_text())
        present = (folder / "server.crt").exists() and (folder / "server.key").exists()
    except (OSError, ValueError):
        return False
    return present and set(wanted) <= set(made["names"]) and made["until"] - now > RENEW_DAYS * 86400


def _new_key() -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def _pem(key: Any) -> bytes:
    from cryptography.hazmat.primitives import serialization

    encoded: bytes = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return encoded


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_suffix(path.suffix + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _builder(subject: Any, issuer: Any, key: Any, *, now: float, days: int) -> Any:
    from cryptography import x509

    start = datetime.datetime.fromtimestamp(now - 300, datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=days))
    )


def _name(common: str, organizations: Iterable[str] = ()) -> Any:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, text) for text in organizations]
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _sign(builder: Any, key: Any) -> bytes:
    from cryptography.hazmat.primitives import hashes, serialization

    encoded: bytes = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    return encoded


def _make_ca(folder: Path, now: float) -> None:
    from cryptography import x509

    key, name = _new_key(), _name("fairlead-ca")
    builder = _builder(name, name, key, now=now, days=CA_DAYS)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs=True), critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    _write(folder / "ca.key", _pem(key))
    _write(folder / "ca.crt", _sign(builder, key))


def _usage(*, signs: bool) -> Any:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _authority(folder: Path) -> tuple[Any, Any]:
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), password=None)
    return x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes()), key


def _leaf(folder: Path, builder: Any, usage: Any, authority: Any, authority_key: Any) -> bytes:
    from cryptography import x509

    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(signs=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())
    return _sign(builder.add_extension(identifier, critical=False), authority_key)


def _make_server(folder: Path, wanted: list[str], now: float) -> None:
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    authority, authority_key = _authority(folder)
    key = _new_key()
    builder = _builder(_name("fairlead-apiserver"), authority.subject, key, now=now, days=SERVER_DAYS)
    alternatives = x509.SubjectAlternativeName([_general_name(text) for text in wanted])
    builder = builder.add_extension(alternatives, critical=False)
    certificate = _leaf(folder, builder, ExtendedKeyUsageOID.SERVER_AUTH, authority, authority_key)
    _write(folder / "server.key", _pem(key))
    _write(folder / "server.crt", certificate)
    _write(folder / "server.json", json.dumps({"names": wanted, "until": now + SERVER_DAYS * 86400}).encode())


def _general_name(text: str) -> Any:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def make_client(
    folder: Path, user: str, *, groups: Iterable[str] = (), now: float, days: int = 365
) -> tuple[bytes, bytes]:
    """(certificate, key) in PEM for a user, signed by the folder's CA."""
    from cryptography.x509.oid import ExtendedKeyUsageOID

    authority, authority_key = _authority(folder)
    key = _new_key()
    builder = _builder(_name(user, groups), authority.subject, key, now=now, days=days)
    return _leaf(folder, builder, ExtendedKeyUsageOID.CLIENT_AUTH, authority, authority_key), _pem(key)
