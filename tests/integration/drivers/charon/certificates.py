"""A customer's certificate authority and its certificates, made by openssl(1)."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple


class Certificate(NamedTuple):
    """A certificate and its private key, PEM."""

    certificate: str
    key: str


class Authority:
    """A certificate authority in a directory."""

    def __init__(self, directory: Path, name: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory, self._name, self._serial = directory, name, 0
        self._openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "3650",
            "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem",
        )  # fmt: skip
        self.certificate = (directory / f"{name}.pem").read_text()

    def sign(self, name: str, days: int = 365) -> Certificate:
        """Return a certificate for a name; with a negative number of days it has expired."""
        self._serial += 1
        (self._directory / "extensions").write_text(f"subjectAltName=DNS:{name}\n")
        self._openssl(
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}",
            "-keyout", "key", "-out", "request",
        )  # fmt: skip
        self._openssl(
            "x509", "-req", "-in", "request", "-CA", f"{self._name}.pem", "-CAkey", f"{self._name}.key", "-set_serial",
            str(self._serial), "-days", str(days), "-extfile", "extensions", "-out", "certificate",
        )  # fmt: skip
        return Certificate(*((self._directory / file).read_text() for file in ("certificate", "key")))

    def _openssl(self, *words: str) -> None:
        subprocess.run(["openssl", *words], cwd=self._directory, check=True, capture_output=True)
