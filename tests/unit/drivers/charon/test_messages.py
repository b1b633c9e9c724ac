"""The messages that configure a connection in charon, and the names that identify its configuration."""

from __future__ import annotations

import msgspec
import pytest

from netorch.drivers.charon.control import CharonError, sections
from netorch.drivers.charon.messages import child_name, load_conn, load_shared, outlived, shared_id
from netorch.drivers.charon.settings import settings
from tests.unit.drivers.charon.connections import PLAIN, changed

LASTING = {
    "local": "198.18.0.22",
    "remote": "198.18.0.99",
    "local_identity": "a",
    "remote_identity": "b",
    "local_traffic": "10.0.0.0/8",
    "remote_traffic": "10.0.0.0/8",
    "if_id": 7,
}
OTHERS = {
    "version": 2,
    "proposals": ("aes128-sha1-modp1024",),
    "child_proposals": ("aes128-sha1-modp1024",),
    "lifetime": 3600,
    "child_lifetime": 900,
    "rekey_margin": 60,
    "rekey_fuzz": 50,
    "replay_window": 64,
    "dpd_delay": 3,
    "dpd_action": "restart",
}
UNSEEN = {"secret": "BBBB", "initiates": True, "vni": 5001}  # not in the CHILD_SA's name
CERTIFIED = changed(certificate="one", authority="an authority")


@pytest.mark.parametrize("name", [*LASTING, *OTHERS])
def test_another_option_is_another_name(name: str) -> None:
    assert child_name(changed(**{name: (LASTING | OTHERS)[name]})) != child_name(PLAIN)


@pytest.mark.parametrize("name", LASTING)
def test_an_sa_does_not_outlive_what_it_was_agreed_on_for(name: str) -> None:
    assert outlived(child_name(PLAIN), changed(**{name: LASTING[name]}))


def test_an_sa_does_not_outlive_the_authority_that_vouched_for_its_peer() -> None:
    assert outlived(child_name(PLAIN), CERTIFIED)
    assert outlived(child_name(CERTIFIED), msgspec.structs.replace(CERTIFIED, authority="another"))
    assert not outlived(child_name(CERTIFIED), msgspec.structs.replace(CERTIFIED, certificate="another"))


@pytest.mark.parametrize("name", OTHERS)
def test_an_sa_outlives_other_options(name: str) -> None:
    assert not outlived(child_name(PLAIN), changed(**{name: OTHERS[name]}))


def test_another_secret_is_another_key_and_the_same_configuration() -> None:
    other = changed(secret="BBBB")
    assert child_name(other) == child_name(PLAIN)
    assert shared_id(other) != shared_id(PLAIN)


def test_every_field_is_seen_somewhere() -> None:
    fields = set(PLAIN.__struct_fields__)
    assert fields == {*LASTING, *OTHERS, *UNSEEN, "netns", "name", "certificate", "authority"}


MANY = ["*", "*.example", "%any", "CN=*", "0.0.0.0", "::", "0.0.0.0/0", "0.0.0.0-255.255.255.255", "ipv4net:0.0.0.0/0", "@#00"]


@pytest.mark.parametrize("identity", MANY)
def test_an_identity_that_stands_for_many_is_refused(identity: str) -> None:
    for wrong in (changed(remote_identity=identity), changed(local_identity=identity)):
        with pytest.raises(CharonError, match="is not the identity"):
            load_conn(wrong)


def test_a_pre_shared_key_proves_one_device_only() -> None:
    # charon accepts any key owned by either end, and the edge is an end of all connections.
    assert load_shared(PLAIN, "the canary")["owners"] == [PLAIN.remote_identity]
    with pytest.raises(CharonError, match="is the identity of both this edge and the device"):
        load_conn(changed(remote=PLAIN.local, remote_identity=PLAIN.local))
    with pytest.raises(CharonError, match="is open to any device"):
        load_conn(changed(remote_identity=""))


@pytest.mark.parametrize("version", [0, 1])
def test_by_ikev1_a_device_with_a_pre_shared_key_is_known_by_its_address_only(version: int) -> None:
    named = changed(version=version, remote_identity="cgw.example")
    for wrong in (named, msgspec.structs.replace(named, remote="")):
        with pytest.raises(CharonError, match="uses IKEv1"):
            load_conn(wrong)
    assert load_conn(msgspec.structs.replace(named, certificate="PEM", authority="PEM"))
    assert load_conn(msgspec.structs.replace(named, version=2))


def test_a_secret_is_in_one_message_only() -> None:
    assert load_shared(PLAIN, "the canary")["data"] == "the canary"
    assert "the canary" not in repr(load_conn(PLAIN))
    assert "AAAA" not in repr(load_conn(PLAIN))


def test_times_are_those_of_a_tunnel() -> None:
    connection = load_conn(PLAIN)[PLAIN.name]
    assert isinstance(connection, dict)
    assert [connection[name] for name in ("rekey_time", "over_time", "rand_time")] == ["28530s", "270s", "270s"]
    (child,) = sections(connection, "children").values()
    assert [child[name] for name in ("rekey_time", "life_time", "rand_time")] == ["3330s", "3600s", "270s"]


def test_a_larger_number_of_connections_gets_a_larger_table() -> None:
    def size(connections: int) -> int:
        text = settings(__import__("pathlib").Path("/run/x"), connections)
        return int(text.split("ikesa_table_size = ")[1].split()[0])

    assert size(1) == 4096
    assert size(3000) >= 6000
    assert size(3000).bit_count() == 1
