"""A certificate authority for tests."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

LOOPBACK: Final = "127.0.0.1"
_DAY: Final = datetime.timedelta(days=1)


class Authority:
    """Signs certificates, and writes its files to a directory."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.file = directory / f"{name}.pem"
        self.file.write_bytes(self._signed(self._name, self._key, True, LOOPBACK).public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str, address: str = LOOPBACK) -> tuple[Path, Path]:
        """Return the files of a certificate for an address, and of its key, both PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate, private = self._directory / f"{name}.crt", self._directory / f"{name}.key"
        certificate.write_bytes(self._signed(subject, key, False, address).public_bytes(serialization.Encoding.PEM))
        plain = serialization.NoEncryption()
        private.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
        return certificate, private

    def _signed(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, is_authority: bool, address: str) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        builder = x509.CertificateBuilder(self._name, subject, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - _DAY).not_valid_after(now + _DAY)
        builder = builder.add_extension(x509.BasicConstraints(is_authority, None), critical=True)
        return builder.add_extension(names, critical=False).sign(self._key, hashes.SHA256())
