"""When certificates end: warnings, and a new one when all have expired."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from netorch.cli.identities.certificates import explaining, notices
from netorch.cli.main import cli
from netorch.errors import StoreUnavailable
from netorch.identity.authority import Authority, key_pem, new_key, utc_now
from netorch.identity.files import OWN, load_authority, read_own, write
from netorch.identity.issued import MEMBER, issued, keep
from netorch.identity.users import OPERATOR
from netorch.store.access import ROOT
from tests.rig.etcd.rights import MemoryAccess

YEAR = timedelta(days=365)


def run(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == code, (arguments, done.output, done.exception)
    return f"{done.output}{done.exception or ''}"


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    """Return the directory of an authority with one operator and one member of etcd."""
    run("ca", "create", "alice", "--dir", str(tmp_path / "ca"), "--out", str(tmp_path / "alice"))
    run("ca", "member", "192.0.2.1", "etcd1", "--dir", str(tmp_path / "ca"), "--out", str(tmp_path / "etcd1.pem"))
    return tmp_path / "ca"


def url(directory: Path) -> str:
    return f"etcd://127.0.0.1:1/cloud?ca={directory / 'ca.pem'}&cert={directory / OWN}&key={directory / OWN}"


def expire(ca: Path, directory: Path) -> str:
    """Put a certificate of the same user in place that has expired; return the user."""
    user, key, before = read_own(directory).user, new_key(), utc_now() - 2 * YEAR
    certificate = load_authority(ca).for_user(key.public_key(), user, before, YEAR)
    write(directory / OWN, key_pem(key) + certificate.encode(), secret=True)
    return user


def test_a_certificate_causes_a_warning_in_the_last_third_of_its_life(ca: Path, tmp_path: Path) -> None:
    now, own = utc_now(), url(tmp_path / "alice")
    assert not list(notices(own, ca, now + YEAR / 2))
    mine, member = notices(own, ca, now + YEAR * 0.7)
    assert mine.startswith(f"your certificate {tmp_path / 'alice' / OWN} expires ")
    assert mine.endswith(" days; on the authority's machine: netorch ca renew alice --out DIRECTORY")
    assert member.startswith("the certificate of member 192.0.2.1 expires ")
    assert f"remove {ca}/issued/member-192.0.2.1.pem if there is no such member" in member
    assert list(notices(own, tmp_path / "elsewhere", now + YEAR * 0.7)) == [mine]
    _, others = notices("memory:", ca, now + YEAR * 2)
    assert others.startswith("the certificate of operator alice has expired ")
    assert [one.partition(" expires")[0] for one in notices("memory:", ca, now + YEAR * 9)][:1] == [
        "the certificate of authority netorch"
    ]
    run("ca", "member", "192.0.2.1", "etcd1", "--dir", str(ca), "--out", str(tmp_path / "etcd1.pem"))
    assert sorted(one.kind for one in issued(ca)) == ["authority", MEMBER, OPERATOR]


def test_a_command_says_that_its_certificate_has_expired(ca: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_url: str) -> None:
        raise StoreUnavailable("away")

    monkeypatch.setattr("netorch.store.open_to_read", away)
    assert "expired" not in run("--store", url(tmp_path / "alice"), "host", "list", code=1)
    expire(ca, tmp_path / "alice")
    said = run("--store", url(tmp_path / "alice"), "host", "list", code=1)
    assert "away; your certificate " in said
    assert "has expired" in said


def test_an_expired_certificate_is_signed_again_for_the_same_user_by_the_authority_alone(ca: Path, tmp_path: Path) -> None:
    user = expire(ca, tmp_path / "alice")
    said = r"^away; your certificate .* has expired .*: netorch ca renew alice --out"
    with pytest.raises(StoreUnavailable, match=said), explaining(url(tmp_path / "alice")):
        raise StoreUnavailable("away")
    before = (tmp_path / "alice" / OWN).read_bytes()
    assert "valid until" in run("ca", "renew", "alice", "--dir", str(ca), "--out", str(tmp_path / "alice"))
    own = read_own(tmp_path / "alice")
    assert (own.user, own.expires > utc_now() + YEAR * 0.9) == (user, True)
    assert (tmp_path / "alice" / OWN).read_bytes().splitlines()[1] != before.splitlines()[1], "a new key"
    with pytest.raises(StoreUnavailable, match=r"^away$"), explaining(url(tmp_path / "alice")):
        raise StoreUnavailable("away")
    run("ca", "renew", "alice", "--dir", str(ca), "--out", str(tmp_path / "lost"))  # the authority knows the user
    assert read_own(tmp_path / "lost").user == user


def test_only_a_known_operator_of_this_authority_is_signed_again(ca: Path, tmp_path: Path) -> None:
    out = ("--dir", str(ca), "--out")
    assert "no certificate of that name is known here" in run("ca", "renew", "bob", *out, str(tmp_path / "bob"), code=1)
    assert "is another identity" in run("ca", "renew", "bob", *out, str(tmp_path / "alice"), code=1)
    other = Authority.new("another", utc_now())
    certificate = other.for_user(new_key().public_key(), "operator/alice/1", utc_now(), YEAR)
    keep(tmp_path / "else", OPERATOR, "alice", certificate)
    assert "ca.key" in run("ca", "renew", "alice", "--dir", str(tmp_path / "else"), "--out", str(tmp_path / "x"), code=1)


def test_a_second_authority_is_refused_before_anything_else(ca: Path, tmp_path: Path) -> None:
    said = run("ca", "create", "alice", "--dir", str(ca), "--out", str(tmp_path / "alice"), code=1)
    assert f"{ca}/ca.key: an authority already exists; `netorch ca operator` makes another operator" in said


def test_a_members_certificate_replaces_only_an_earlier_one_of_the_same_member(ca: Path, tmp_path: Path) -> None:
    def member(out: Path, *names: str, code: int = 0) -> str:
        before = out.read_bytes()
        said = run("ca", "member", *names, "--dir", str(ca), "--out", str(out), code=code)
        assert (out.read_bytes() != before) is (code == 0)
        return said

    file = tmp_path / "etcd1.pem"
    assert "chown etcd: /etc/etcd/member.pem.new && mv" in member(file, "192.0.2.1", "etcd1")
    member(file, "192.0.2.1", "etcd1", "etcd1.example.net")
    assert "is the certificate of 192.0.2.1, etcd1, etcd1.example.net" in member(file, "192.0.2.1", "etcd1", code=1)
    assert "give at least these names, or choose another --out" in member(file, "192.0.2.2", code=1)
    for other in (tmp_path / "alice" / OWN, ca / "ca.pem", ca / "ca.key"):
        assert "is not a member's certificate" in member(other, "192.0.2.1", code=1)
    for name in ("etcd_1", "bad name", "etcd-", ""):
        assert f"name {name!r}: is neither an IP address nor a host name" in member(file, name, code=1)


def test_a_list_without_etcd_has_the_certificates_that_the_authority_knows(
    ca: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_url: str) -> None:
        raise StoreUnavailable("away")

    monkeypatch.setattr("netorch.store.open_access", away)
    user = expire(ca, tmp_path / "alice")
    said = run("--store", url(tmp_path / "alice"), "ca", "list", "--dir", str(ca), code=1)
    rows = [line.split() for line in said.splitlines()]
    assert {("operator", "alice", user), ("member", "192.0.2.1"), ("authority", "netorch")} <= {
        tuple(row[:3]) if row[:1] == ["operator"] else tuple(row[:2]) for row in rows
    }
    assert "away; your certificate" in said
    assert "operator/alice" not in run("--store", url(tmp_path / "alice"), "ca", "list", "--dir", str(tmp_path), code=1)


def test_an_operator_that_another_machine_has_revoked_is_no_longer_warned_of(
    ca: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("ca", "create", "bob", "--dir", str(tmp_path / "other"), "--out", str(tmp_path / "bob"))
    keep(ca, OPERATOR, "bob", (tmp_path / "bob" / OWN).read_text())
    access = MemoryAccess()
    access.add_user(read_own(tmp_path / "alice").user, ROOT)
    monkeypatch.setattr("netorch.store.open_access", lambda _url: access)
    call = ("--store", url(tmp_path / "alice"), "ca")
    place = ("--dir", str(ca))
    (bob,) = [line for line in run(*call, "list", *place).splitlines() if " bob " in line]
    assert " all " not in bob
    assert any("operator bob" in one for one in notices("memory:", ca, utc_now() + YEAR))
    said = run(*call, "revoke", "bob", *place)
    assert "bob: was revoked before; the copy of its certificate in" in said
    assert not any("operator bob" in one for one in notices("memory:", ca, utc_now() + YEAR))
    assert "none of that name" in run(*call, "revoke", "bob", *place, code=1)
    assert "that is you" in run(*call, "revoke", "alice", *place, code=1)
    assert any("operator alice" in one for one in notices("memory:", ca, utc_now() + YEAR))
