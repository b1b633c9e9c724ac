"""The history of a cloud that its store keeps."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import cast

import pytest

from netorch.control.actions import hosts, subnets, vpcs
from netorch.control.base.writes import MOST_OPS, Writes
from netorch.control.history.read import AGENTS, read_history
from netorch.control.history.signed import LONGEST, Signature, SignedStore, spelled
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.store import open_store
from netorch.store.base import Put, Store
from netorch.store.rules import MAX_OPS

OPERATOR = Caller(operator=True)


def signed(store: Store, command: str, by: str = "ann@desk") -> Store:
    return cast(Store, SignedStore(store, Signature(by=by, command=command, at=1.0)))


def test_each_change_says_who_made_it_by_which_command_and_of_what(store: Store) -> None:
    hosts.create_host(signed(store, "netorch host create hv1"), OPERATOR, name="hv1", underlay="192.0.2.11")
    vpc = vpcs.create_vpc(signed(store, "netorch vpc create a"), OPERATOR, name="a", cidrs=["10.0.0.0/16"])
    made = signed(store, "netorch subnet create s", by="bob@lap")
    subnet = subnets.create_subnet(made, OPERATOR, vpc.id, name="s", cidr="10.0.1.0/24")
    store.txn((), [Put(keys.mapping(vpc.vni, "10.0.1.4"), b"{}"), Put("hoststat/hv1/agent", b"{}")])
    store.txn((), [Put("hoststat/hv1/agent", b"{}"), Put(keys.host_live("hv1"), b"{}")])

    by_agent, subnet_made, vpc_made, host_made = read_history(store, None, 50)
    assert (host_made.by, host_made.command, host_made.changed) == ("ann@desk", "netorch host create hv1", ("+host hv1/spec",))
    assert f"+vpc {vpc.vni}" in vpc_made.changed
    assert (subnet_made.by, subnet_made.command) == ("bob@lap", "netorch subnet create s")
    assert {f"+{subnet.id}", f"~vpc {vpc.vni}"} <= set(subnet_made.changed)
    assert (by_agent.by, by_agent.at, by_agent.changed) == (AGENTS, 0.0, ("+mapping 10.0.1.4",))
    assert [change.by for change in read_history(store, vpc.vni, 2)] == [AGENTS, "bob@lap"]
    assert vpc_made.revision < subnet_made.revision < by_agent.revision == store.revision() - 1


def test_what_is_forgotten_does_not_hide_the_rest(store: Store) -> None:
    writer = signed(store, "netorch vpc create")
    first = vpcs.create_vpc(writer, OPERATOR, name="a", cidrs=["10.0.0.0/16"])
    store.compact(store.revision())
    second = vpcs.create_vpc(writer, OPERATOR, name="b", cidrs=["10.0.0.0/16"])
    (change,) = read_history(store, None, 50)
    assert f"+vpc {second.vni}" in change.changed
    assert read_history(store, first.vni, 50) == []


def test_an_unreadable_signature_is_nobodys(store: Store) -> None:
    store.txn((), [Put(keys.last_change(), b"{"), Put("pool/west", b"{}")])
    assert [change.by for change in read_history(store, None, 50)] == [AGENTS]


def test_the_largest_transaction_has_room_for_who_makes_it(store: Store) -> None:
    writes = Writes()
    for number in range(MOST_OPS):
        writes.create(f"pool/{number}", {})
    assert writes.commit(signed(store, "x" * LONGEST))
    assert len(read_history(store, None, 1)[0].changed) == MOST_OPS == MAX_OPS - 1


def test_nothing_is_signed_that_is_not_done(store: Store) -> None:
    writes = Writes()
    writes.change("pool/west", 7, {})
    assert not writes.commit(signed(store, "netorch"))
    assert store.get(keys.last_change()) is None


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (["netorch", "vpc", "create", "two words"], "netorch vpc create 'two words'"),
        (["netorch", "--store", "etcd://ann:CANARY@[::1]:2379", "x"], "netorch --store 'etcd://***@[::1]:2379' x"),
        (["netorch", "x", "--psk", "CANARY", "--password=CANARY", "y"], "netorch x --psk *** --password=*** y"),
        (
            ["netorch", "vpn", "create", "--psk-file", "/root/key", "--token-file=t"],
            "netorch vpn create --psk-file /root/key --token-file=t",
        ),
    ],
)
def test_no_secret_is_kept(words: list[str], kept: str) -> None:
    assert spelled(words).replace("'--password=***'", "--password=***") == kept


def test_a_long_command_is_cut() -> None:
    assert len(spelled(["netorch", "y" * 5000])) == LONGEST


def test_a_closed_store_stays_closed(tmp_path: Path) -> None:
    with closing(signed(open_store(str(tmp_path / "db"), create=True), "netorch")) as store:
        assert store.revision() == 1
