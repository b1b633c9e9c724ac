"""Certificates: what each is good for, whom it names, and which files hold what."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from netorch.errors import IdentityError
from netorch.identity.authority import (
    HOST_LIFE,
    MEMBERS_NAME,
    SERVICE_NAME,
    Authority,
    certificate_request,
    fingerprint,
    loaded,
    names_of,
    new_key,
    requested_key,
    user_of,
)
from netorch.identity.files import (
    AUTHORITY_KEY,
    OWN,
    asked_request,
    keep_answer,
    load_authority,
    read_own,
    save_authority,
    write,
)
from netorch.identity.token import Token, hash_of, is_same, new_secret, parse_token
from netorch.identity.users import HOST, MOST_NAME, OPERATOR, name_of, new_user

NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.new("a cloud", NOW)


def usages(certificate: x509.Certificate) -> set[x509.ObjectIdentifier]:
    return set(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


def test_each_certificate_serves_one_purpose_and_names_whom_the_authority_says(authority: Authority) -> None:
    public = new_key().public_key()
    user = new_user(HOST, "hv1")
    host = loaded(authority.for_user(public, user, NOW, HOST_LIFE))
    member = loaded(authority.for_member(public, ["192.0.2.1", "etcd1.example.net"], NOW))
    service = loaded(authority.for_service(public, NOW))
    client, server = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
    assert [usages(each) for each in (host, member, service)] == [{client}, {server, client}, {server}]
    assert [user_of(each) for each in (host, member, service)] == [user, "", ""]
    names = [each.extensions.get_extension_for_class(x509.SubjectAlternativeName).value for each in (member, service)]
    assert [name.value for name in names[1]] == [SERVICE_NAME]
    assert [str(name.value) for name in names[0]] == ["192.0.2.1", "etcd1.example.net", MEMBERS_NAME]
    assert names_of(member) == {"192.0.2.1", "etcd1.example.net"}
    for each in (host, member, service):
        each.verify_directly_issued_by(loaded(authority.pem))
        assert not each.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        assert each.not_valid_before_utc < NOW < each.not_valid_after_utc
    assert host.not_valid_after_utc == NOW + timedelta(days=30)
    assert len(fingerprint(authority.pem)) == 64


def test_a_request_without_its_private_key_is_refused() -> None:
    pem = certificate_request(new_key())
    assert requested_key(pem) == x509.load_pem_x509_csr(pem.encode()).public_key()
    other = certificate_request(new_key()).splitlines()
    mixed = "\n".join([*pem.splitlines()[:3], *other[3:]])
    for wrong in (mixed, "", "hello", pem[:200]):
        with pytest.raises(IdentityError, match="certificate request"):
            requested_key(wrong)


def test_the_longest_names_fit_into_a_certificate(authority: Authority) -> None:
    for kind in (HOST, OPERATOR):
        user = new_user(kind, "h" * MOST_NAME)
        assert user_of(loaded(authority.for_user(new_key().public_key(), user, NOW, HOST_LIFE))) == user
        assert name_of(kind, user) == "h" * MOST_NAME
    assert new_user(HOST, "hv1") != new_user(HOST, "hv1")
    assert {name_of(HOST, text) for text in ("operator/hv1/1", "host/hv1", "host/hv1/1/2", "root", "host//1")} == {""}


def test_files_of_keys_are_private_and_an_authority_is_never_replaced(authority: Authority, tmp_path: Path) -> None:
    save_authority(tmp_path, authority)
    assert load_authority(tmp_path).pem == authority.pem
    with pytest.raises(IdentityError, match="an authority already exists"):
        save_authority(tmp_path, Authority.new("another", NOW))
    assert (tmp_path / AUTHORITY_KEY).stat().st_mode & 0o777 == 0o600
    (tmp_path / AUTHORITY_KEY).chmod(0o640)
    with pytest.raises(IdentityError, match="others may read it"):
        load_authority(tmp_path)
    write(tmp_path / AUTHORITY_KEY, Authority.new("another", NOW).key_pem(), secret=True)
    with pytest.raises(IdentityError, match="does not belong to the certificate"):
        load_authority(tmp_path)


def test_a_repeated_request_has_the_same_key_until_it_is_answered(authority: Authority, tmp_path: Path) -> None:
    first = requested_key(asked_request(tmp_path))
    assert requested_key(asked_request(tmp_path)) == first
    with pytest.raises(IdentityError, match="another key"):
        keep_answer(tmp_path, authority.for_user(new_key().public_key(), "host/hv1/1", NOW, HOST_LIFE), authority.pem)
    own = keep_answer(tmp_path, authority.for_user(first, "host/hv1/1", NOW, HOST_LIFE), authority.pem)
    assert own == read_own(tmp_path)
    assert own.user == "host/hv1/1"
    assert NOW + timedelta(days=14) < own.renew_at < own.late_at < own.expires == NOW + HOST_LIFE
    assert (tmp_path / OWN).stat().st_mode & 0o777 == 0o600
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(tmp_path / OWN)  # the key and the certificate are a pair
    assert requested_key(asked_request(tmp_path)) != first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["asked.key", "ca.pem", "own.pem"]


def test_a_token_is_one_word_and_shows_its_secret_nowhere_else() -> None:
    token = Token(host="hv1", service="192.0.2.5:2390", authority="ab" * 32, secret=new_secret())
    assert parse_token(f"  {token.text()}\n") == token
    assert len(token.text().split()) == 1
    assert token.secret not in repr(token)
    assert is_same(token.secret, hash_of(token.secret))
    assert not is_same(token.secret, hash_of("another"))
    assert token.secret not in hash_of(token.secret)
    for wrong in ("", "hello", token.text()[:-10], token.text().replace("-1.", "-2."), token.text() + "x" * 5000):
        with pytest.raises(IdentityError) as refused:
            parse_token(wrong)
        assert token.secret not in str(refused.value)
