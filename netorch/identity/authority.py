"""The cloud's certificate authority (RFC 5280): a P-256 key and a self-signed certificate.

It signs four kinds of certificates. Their extended key usage keeps them apart: a host's certificate cannot serve, and the
enrolment service's cannot ask.

    a host or an operator    clientAuth               the common name is the user of etcd (netorch.identity.users)
    a member of etcd         serverAuth, clientAuth   its names and addresses, and MEMBERS_NAME; no user, because the common
                                                      name is empty
    the enrolment service    serverAuth               SERVICE_NAME
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from netorch.errors import IdentityError

Key = ec.EllipticCurvePrivateKey

SERVICE_NAME: Final = "enrolment.netorch.invalid"
# All members have it, and nobody else. etcd's peer port knows no users: without --peer-cert-allowed-hostname it would take
# proposals in any user's name from each certificate of this authority, also from a revoked host's.
MEMBERS_NAME: Final = "member.netorch.invalid"
AUTHORITY_LIFE: Final = timedelta(days=3650)
HOST_LIFE: Final = timedelta(days=30)
OPERATOR_LIFE: Final = timedelta(days=365)
MEMBER_LIFE: Final = timedelta(days=365)
_BACKDATED: Final = timedelta(minutes=10)  # clocks differ
_HOST_NAME: Final = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9-]{1,63}(?<!-))*", re.IGNORECASE)  # RFC 1123, 2.1
_PEM: Final = serialization.Encoding.PEM
_CLIENT: Final = ExtendedKeyUsageOID.CLIENT_AUTH
_SERVER: Final = ExtendedKeyUsageOID.SERVER_AUTH


def utc_now() -> datetime:
    """Return the present time."""
    return datetime.now(UTC)


def new_key() -> Key:
    """Return a new P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: Key) -> bytes:
    """Return a key as PEM, unencrypted."""
    return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def certificate_request(key: Key) -> str:
    """Return a signing request as PEM. It has no name: the authority decides whose certificate it becomes."""
    return (
        x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256()).public_bytes(_PEM).decode()
    )


def requested_key(pem: str) -> ec.EllipticCurvePublicKey:
    """Return the public key of a signing request whose sender has the private key.

    Raises:
      IdentityError: it is no request, its signature is wrong, or its key is not P-256.
    """
    try:
        request = x509.load_pem_x509_csr(pem.encode())
        key = request.public_key()
        valid = request.is_signature_valid
    except (ValueError, TypeError, InvalidSignature) as error:
        raise IdentityError(f"certificate request: it cannot be read ({error}); run `netorch host join` again") from error
    if not valid or not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise IdentityError(
            "certificate request: its signature is invalid or its key is not P-256; run `netorch host join` again"
        )
    return key


def fingerprint_of_key(key: ec.EllipticCurvePublicKey) -> str:
    """Return the SHA-256 of a public key in hexadecimal digits."""
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def fingerprint(certificate_pem: str) -> str:
    """Return the SHA-256 of a certificate in hexadecimal digits. Raises IdentityError."""
    return loaded(certificate_pem).fingerprint(hashes.SHA256()).hex()


def loaded(certificate_pem: str) -> x509.Certificate:
    """Return the certificate in a PEM text. Raises IdentityError."""
    try:
        return x509.load_pem_x509_certificate(certificate_pem.encode())
    except ValueError as error:
        raise IdentityError(f"certificate: it cannot be read ({error}); get a new one") from error


def user_of(certificate: x509.Certificate) -> str:
    """Return the user that a certificate stands for; empty for a server's."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


def names_of(certificate: x509.Certificate) -> frozenset[str]:
    """Return the names and addresses of a server's certificate, without MEMBERS_NAME; empty for any other."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    return frozenset(str(name.value) for name in found) - {MEMBERS_NAME}


class Authority:
    """A certificate authority with its key."""

    def __init__(self, key: Key, certificate: x509.Certificate) -> None:
        self._key = key
        self._certificate = certificate
        self.pem = certificate.public_bytes(_PEM).decode()

    @classmethod
    def new(cls, name: str, now: datetime) -> Authority:
        """Return a new authority; its name is for people."""
        key = new_key()
        subject = _named(name)
        usage = x509.KeyUsage(
            False, False, False, False, False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False
        )
        builder = (
            _builder(subject, subject, key.public_key(), now, AUTHORITY_LIFE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
        )
        return cls(key, builder.sign(key, hashes.SHA256()))

    @classmethod
    def load(cls, key_text: bytes, certificate_pem: str) -> Authority:
        """Return the authority with this key. Raises IdentityError."""
        certificate = loaded(certificate_pem)
        try:
            key = serialization.load_pem_private_key(key_text, None)
        except (ValueError, TypeError):  # not "from": the text may quote the key
            raise IdentityError("authority's key: it cannot be read; restore a backup") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise IdentityError("authority's key: it does not belong to the certificate next to it; restore a backup")
        return cls(key, certificate)

    def key_pem(self) -> bytes:
        """Return the authority's key as PEM."""
        return key_pem(self._key)

    def for_user(self, key: ec.EllipticCurvePublicKey, user: str, now: datetime, life: timedelta) -> str:
        """Return a certificate as PEM with which a host or operator asks servers."""
        return self._signed(_builder(_named(user), self._certificate.subject, key, now, life), [_CLIENT])

    def for_member(self, key: ec.EllipticCurvePublicKey, names: Sequence[str], now: datetime) -> str:
        """Return a certificate as PEM for a member of etcd, which serves clients and asks other members.

        It also has MEMBERS_NAME, by which members tell each other from hosts.

        Raises:
          IdentityError: a name is neither an address nor a host name.
        """
        builder = _builder(x509.Name([]), self._certificate.subject, key, now, MEMBER_LIFE)
        return self._signed(builder.add_extension(_alternative([*names, MEMBERS_NAME]), critical=True), [_SERVER, _CLIENT])

    def for_service(self, key: ec.EllipticCurvePublicKey, now: datetime) -> str:
        """Return a certificate as PEM for the enrolment service."""
        builder = _builder(x509.Name([]), self._certificate.subject, key, now, MEMBER_LIFE)
        return self._signed(builder.add_extension(_alternative([SERVICE_NAME]), critical=True), [_SERVER])

    def _signed(self, builder: x509.CertificateBuilder, usages: list[x509.ObjectIdentifier]) -> str:
        digital = x509.KeyUsage(
            True, False, False, False, False, key_cert_sign=False, crl_sign=False, encipher_only=False, decipher_only=False
        )
        own = self._certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        issuer = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)
        builder = (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(digital, critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(issuer, critical=False)
        )
        return builder.sign(self._key, hashes.SHA256()).public_bytes(_PEM).decode()


def _named(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    begin = now - _BACKDATED
    made = x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number(), begin, now + life)
    return made.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def _alternative(names: Sequence[str]) -> x509.SubjectAlternativeName:
    found: list[x509.GeneralName] = []
    for name in names:
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            if not _HOST_NAME.fullmatch(name):
                raise IdentityError(f"name {name!r}: is neither an IP address nor a host name; correct it") from None
            found.append(x509.DNSName(name))
    return x509.SubjectAlternativeName(found)
