"""Files of operators: no command overwrites another identity, and what is printed is what a machine needs."""

from __future__ import annotations

from pathlib import Path

from tests.unit.cli.conftest import Run


def test_a_new_authority_overwrites_no_identity(quick: Run, tmp_path: Path) -> None:
    said = quick("ca", "create", "alice", "--dir", "ca", "--out", "alice").stdout
    own = tmp_path / "alice/own.pem"
    assert said.endswith(f'/netorch?ca={own.with_name("ca.pem")}&cert={own}&key={own}"\n')
    before = own.read_bytes()
    for name in ("eve", "alice"):
        refused = quick("ca", "create", name, "--dir", "ca2", "--out", "alice", code=1).stderr
        assert "alice/own.pem: is another identity, operator/alice/" in refused
        assert "choose another --out" in refused
    assert own.read_bytes() == before
    assert not (tmp_path / "ca2").exists()


def test_a_store_without_identities_is_refused_with_the_first_step(quick: Run) -> None:
    said = quick("host", "token", "hv1", code=1).stderr
    assert "has no identities; these need etcd with TLS: --store 'etcd://HOST:PORT/NAME?ca=FILE&cert=FILE&key=FILE'" in said
    assert 'One machine with SQLite needs none; several machines: docs/design/identities.md, "A new cloud"' in said


def test_a_host_that_gets_no_answer_learns_how_the_service_gets_another_address(quick: Run, tmp_path: Path) -> None:
    from netorch.identity.token import Token, new_secret

    token = Token(host="hv1", service="127.0.0.1:1", authority="ab" * 32, secret=new_secret())
    (tmp_path / "token").write_text(token.text())
    said = quick("host", "join", "--token-file", "token", "--state-dir", "state", code=1).stderr
    assert "enrolment service 127.0.0.1:1: no answer" in said
    assert "`netorch ca serve --address HOST:PORT` and make a new token" in said
