"""A pre-shared key and a private key, searched for everywhere while charon works with them."""

from __future__ import annotations

import logging
import stat
import traceback
from pathlib import Path

import pytest

from netorch.drivers.charon.control import Section
from netorch.drivers.charon.driver import RUN
from netorch.model.outside import tunnel_problems as words
from netorch.model.outside.secrets import Secret, seal
from netorch.state.op import Create, Replace
from tests.integration.drivers.charon.certificates import Authority
from tests.integration.drivers.charon.rig import EDGE, EDGE_ADDRESS, PSK, Site, customer_connection, psk

pytestmark = pytest.mark.root

CUSTOMER = "198.18.0.80"


def processes() -> str:
    """Return the arguments and environments of all processes."""
    found = [path for path in Path("/proc").iterdir() if path.name.isdigit()]
    texts = []
    for path in found:
        for name in ("cmdline", "environ"):
            try:
                texts.append((path / name).read_text(errors="replace"))
            except OSError:
                continue
    return "\n".join(texts)


def test_no_secret_is_anywhere_but_in_memory(world: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    authority = Authority(world.directory / "authority", "an-authority")
    ours = authority.sign("edge.example")
    key_line = ours.key.splitlines()[1]
    customer, edge = world.customer(), world.edge
    by_psk = edge.connection()
    by_key = edge.connection(
        2,
        remote="198.18.0.82",
        certificate=ours.certificate,
        authority=authority.certificate,
        local_identity="edge.example",
        secret=seal(edge.key.public, Secret(key=ours.key)),
    )
    swapped = edge.connection(3, remote="198.18.0.83", secret=seal(edge.key.public, Secret(key=ours.key)))
    broken = edge.connection(4, remote="198.18.0.84", proposals=("aes7",))
    edge.create(by_psk, by_key)
    failures = edge.kernel.apply([Create(swapped), Create(broken)])
    assert [failure.op.obj for failure in failures] == [swapped, broken]
    customer.load(customer_connection(CUSTOMER), psk("wrong.wrong.wrong", CUSTOMER, EDGE_ADDRESS))
    customer.initiate()
    edge.wait_problem(by_psk, words.WRONG_PSK)
    edge.apply(Replace(by_psk, edge.connection(secret=edge.seal("The.next.canary_98765"))))
    files = [path for path in (RUN / EDGE).iterdir() if path.is_file()]
    assert {"connections", "strongswan.conf"} <= {path.name for path in files}
    for path in files:
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077 or not stat.S_IMODE(path.parent.stat().st_mode) & 0o077
    seen = {
        "files": "\n".join(path.read_text(errors="replace") for path in files),
        "processes": processes(),
        "log": caplog.text,
        "errors": "\n".join(line for failure in failures for line in traceback.format_exception(failure.error)),
        "objects": repr([*edge.kernel.dump().values(), *failures]) + "".join(o.text() for o in edge.kernel.dump().values()),
        "tunnels": repr(edge.kernel.tunnels()),
        "drivers": repr(vars(edge.kernel)),
    }
    for where, text in seen.items():
        for secret in (PSK, "The.next.canary_98765", key_line):
            assert secret not in text, where


@pytest.mark.parametrize("version", ["1", "2"])
def test_the_key_of_one_customer_does_not_prove_that_he_is_another_one(world: Site, version: str) -> None:
    theirs = world.edge.connection(1, remote="", remote_identity="victim.example", secret=world.edge.seal("Victims.key.0123"))
    own = world.edge.connection(2, remote="", remote_identity="attacker.example", secret=world.edge.seal("Attackers.key.01"))
    world.edge.create(theirs, own)
    customer = world.customer()
    for name in ("victim.example", EDGE_ADDRESS, "*.example"):
        local: Section = {"auth": "psk", "id": name}
        customer.load(customer_connection(CUSTOMER, version=version, local=local), psk("Attackers.key.01", name, EDGE_ADDRESS))
        assert customer.initiate() != ""
        assert customer.sas() == []
        customer.forget()
