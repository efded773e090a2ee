"""Certificates: one that signs itself for an edge to which nobody brought any, and whether a pair fits together.

ECDSA P-256, RFC 5280; hosts as RFC 6125 compares them. `cryptography` is imported when it is needed.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence


def self_signed(names: Sequence[str], *, now: datetime.datetime, days: int = 365) -> tuple[str, str]:
    """The certificate and its key, both PEM, valid for the names (of hosts, or IP addresses) from a day ago on."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    def general(name: str) -> x509.GeneralName:
        try:
            return x509.IPAddress(ipaddress.ip_address(name))
        except ValueError:
            return x509.DNSName(name)

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "fairlead self-signed")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([general(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode(), private.decode()


def names(chain_pem: str, key_pem: str) -> tuple[str, ...]:
    """The DNS names that the first certificate is for. Raises ValueError where the two are no pair."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    try:
        certificate = x509.load_pem_x509_certificates(chain_pem.encode())[0]
        key = serialization.load_pem_private_key(key_pem.encode(), password=None)
    except (ValueError, TypeError, IndexError) as error:
        raise ValueError(
            f"cannot be read: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
        ) from None
    form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    if certificate.public_key().public_bytes(*form) != key.public_key().public_bytes(*form):
        raise ValueError("the key is not the certificate's")
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(name.lower() for name in found.get_values_for_type(x509.DNSName))


def covers(names: Sequence[str], host: str) -> bool:
    """Whether one of a certificate's names is for the host; `*.` stands for one label."""
    wildcard = "*." + host.partition(".")[2]
    return host in names or wildcard in names
