"""netorch's nftables tables in a real kernel: loaded objects are read back, and changes are noticed."""

from __future__ import annotations

import errno
import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator

import msgspec
import pytest

from netorch.drivers import netns
from netorch.drivers.base import Lost
from netorch.drivers.nft.tables import Nft
from netorch.drivers.nft.transactions import MOST
from netorch.drivers.nft.wire.commit import CommitSocket
from netorch.plan.diff import diff
from netorch.state import base
from netorch.state.base import OVERLAY, KernelObject, Key
from netorch.state.nft import NFT_KINDS, NftElement, NftTable
from netorch.state.op import Create, Delete, Replace
from policy import nftgen, skeleton
from policy.tables import ports
from tests.rig.world import wait_for

pytestmark = pytest.mark.root

HOME = "nft-test"
VNI = 5000
PORT, MAC = "v-0013880000001", "06:00:00:00:00:01"
CHAIN = nftgen.port_chain(VNI, PORT, MAC, "10.44.12.4", ("2001:db8::4", "::"))
UNDERLAY = skeleton.underlay_table()
ELEMENTS = [
    nftgen.sender("senders", "192.0.2.12", VNI, "10.44.12.5"),
    nftgen.sender("senders", "192.0.2.12", VNI, "2001:db8::5"),
    nftgen.sender("senders", "192.0.2.12", VNI, "::5"),
    nftgen.sender("relay", "192.0.2.12", VNI, "10.44.12.5"),
    nftgen.sender("relay", "192.0.2.12", 0xFFFFFE, "2001:db8::5"),
    nftgen.member("192.0.2.12", VNI),
]
OVERLAY_TABLES = skeleton.overlay_tables()
OVERLAY_ELEMENTS = [
    nftgen.transit("vx5000", "10.44.12.4", VNI),
    nftgen.transit("vx5000", "2001:db8::4", VNI),
]


@pytest.fixture
def home() -> Iterator[int]:
    """A network namespace for the test."""
    fd = netns.make(HOME)
    yield fd
    netns.remove(HOME)
    os.close(fd)


@pytest.fixture
def underlay(home: int) -> Iterator[Nft]:
    nft = Nft(base.UNDERLAY, home)
    yield nft
    nft.close()


@pytest.fixture
def overlay(home: int) -> Iterator[Nft]:
    nft = Nft(OVERLAY, home)
    yield nft
    nft.close()


def load(nft: Nft, *objects: KernelObject) -> None:
    assert nft.apply([Create(obj) for obj in objects]) == []


def by_key(*objects: KernelObject) -> dict[Key, KernelObject]:
    return {obj.key: obj for obj in objects}


def somebody_else(command: str) -> None:
    """Change the ruleset as an operator would."""
    subprocess.run(["ip", "netns", "exec", HOME, "nft", command], check=True)


def fresh_dump(netns: str, home: int) -> dict[Key, KernelObject]:
    """Return the dump of a process without memory."""
    nft = Nft(netns, home)
    try:
        return nft.dump()
    finally:
        nft.close()


def test_nothing_is_found_in_a_namespace_without_tables(underlay: Nft) -> None:
    assert underlay.dump() == {}
    assert underlay.counters() == {}


def test_a_fresh_process_recognises_what_was_loaded(underlay: Nft, home: int) -> None:
    wanted = by_key(UNDERLAY, *ELEMENTS)
    load(underlay, *wanted.values())
    found = fresh_dump(base.UNDERLAY, home)
    assert diff(wanted, found) == []
    assert {key: obj for key, obj in found.items() if isinstance(obj, NftElement)} == by_key(*ELEMENTS)


def test_the_overlay_has_its_tables_of_two_families(overlay: Nft, home: int) -> None:
    wanted = by_key(*OVERLAY_TABLES, *OVERLAY_ELEMENTS)
    load(overlay, *wanted.values())
    assert diff(wanted, fresh_dump(OVERLAY, home)) == []
    assert overlay.counters() == dict.fromkeys(re.findall(r"counter (\w+) {", skeleton.OVERLAY_INET + ports.OVERLAY_NETDEV), 0)


CHAIN_ALTERATIONS = {
    "its rules flushed": f"flush chain netdev netorch {PORT}",
    "a rule added": f"insert rule netdev netorch {PORT} accept",
    "its policy changed": f"chain netdev netorch {PORT} {{ policy accept; }}",
    "deleted": f"flush chain netdev netorch {PORT}; delete chain netdev netorch {PORT}",
    "moved behind others": f"flush chain netdev netorch {PORT}; delete chain netdev netorch {PORT}; "
    f'add chain netdev netorch {PORT} {{ type filter hook ingress device "{PORT}" priority 7; }}',
}


@pytest.mark.parametrize("case", sorted(CHAIN_ALTERATIONS))
def test_an_altered_chain_of_a_port_is_noticed_and_repaired(overlay: Nft, home: int, case: str) -> None:
    subprocess.run(["ip", "-n", HOME, "link", "add", PORT, "type", "dummy"], check=True)
    wanted = by_key(*OVERLAY_TABLES, CHAIN)
    load(overlay, *wanted.values())
    assert diff(wanted, fresh_dump(OVERLAY, home)) == []
    somebody_else(CHAIN_ALTERATIONS[case])
    assert overlay.events() == [Lost(NFT_KINDS)]
    ops = diff(wanted, overlay.dump())
    assert [op.obj for op in ops] == [CHAIN]
    assert overlay.apply(ops) == []
    assert diff(wanted, fresh_dump(OVERLAY, home)) == []


ALTERATIONS = {
    "a rule removed": "flush chain ip netorch input",
    "a rule added": "insert rule ip netorch input accept",
    "a chain added": "add chain ip netorch extra",
    "a policy changed": "chain ip netorch input { policy drop; }",
    "a set added": "add set ip netorch extra { type mark; }",
    "the fingerprint removed": "delete set ip netorch fingerprint",
    "the table hidden": "add table ip netorch { flags dormant; }",
}


@pytest.mark.parametrize("case", sorted(ALTERATIONS))
def test_an_altered_table_is_noticed_and_repaired_with_its_elements(underlay: Nft, home: int, case: str) -> None:
    wanted = by_key(UNDERLAY, *ELEMENTS)
    load(underlay, *wanted.values())
    somebody_else(ALTERATIONS[case])
    assert underlay.events() == [Lost(NFT_KINDS)]
    ops = diff(wanted, underlay.dump())
    assert [op.obj for op in ops] == [UNDERLAY]
    assert underlay.apply(ops) == []
    assert diff(wanted, fresh_dump(base.UNDERLAY, home)) == []
    assert underlay.events() == []


def test_a_flushed_ruleset_comes_back_whole(underlay: Nft, home: int) -> None:
    wanted = by_key(UNDERLAY, *ELEMENTS)
    load(underlay, *wanted.values())
    somebody_else("flush ruleset")
    assert underlay.events() == [Lost(NFT_KINDS)]
    assert underlay.apply(diff(wanted, underlay.dump())) == []
    assert diff(wanted, fresh_dump(base.UNDERLAY, home)) == []


def test_counted_packets_are_no_alteration(underlay: Nft, home: int) -> None:
    load(underlay, UNDERLAY)
    somebody_else("add table ip other { counter stranger { packets 7 bytes 7; }; }")
    with netns.inside(home):
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        subprocess.run([sys.executable, "-c", SEND_ONE], check=True)
    wait_for(lambda: underlay.counters()["unknown_vtep"], "the packet")
    assert underlay.counters() == {"unverified": 0, "unknown_vtep": 1}
    assert UNDERLAY.matches(underlay.dump()[UNDERLAY.key])


SEND_ONE = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x' * 90, ('127.0.0.1', 4789))"


def test_a_changed_element_is_noticed(underlay: Nft) -> None:
    load(underlay, UNDERLAY, *ELEMENTS)
    somebody_else(f"delete element ip netorch senders4 {{ {' . '.join(ELEMENTS[0].items)} }}")
    somebody_else(f"add element ip netorch senders4 {{ 192.0.2.99 . {' . '.join(nftgen.vxlan_header(VNI))} . 0x1 }}")
    assert underlay.events() == [Lost(NFT_KINDS)]
    ops = diff(by_key(UNDERLAY, *ELEMENTS), underlay.dump())
    intruder = nftgen.sender("senders", "192.0.2.99", VNI, "0.0.0.1")
    assert ops == [Create(ELEMENTS[0]), Delete(intruder)]
    assert underlay.apply(ops) == []
    assert diff(by_key(UNDERLAY, *ELEMENTS), underlay.dump()) == []


def test_our_own_changes_are_no_events(underlay: Nft) -> None:
    load(underlay, UNDERLAY, *ELEMENTS)
    assert underlay.apply([Delete(ELEMENTS[0])]) == []
    assert underlay.events() == []


def test_changes_of_foreign_tables_are_no_events_and_they_stay(underlay: Nft, home: int) -> None:
    somebody_else("add table inet other { chain c { type filter hook input priority 0; udp dport 4789 accept; }; }")
    somebody_else("add table ip netorch-not-ours")
    load(underlay, UNDERLAY)
    assert underlay.events() == []
    assert underlay.apply([Delete(UNDERLAY)]) == []
    listing = subprocess.run(["ip", "netns", "exec", HOME, "nft", "list", "ruleset"], check=True, capture_output=True, text=True)
    assert "table inet other" in listing.stdout
    assert "table ip netorch-not-ours" in listing.stdout
    assert "table ip netorch " not in listing.stdout


def test_events_wake_a_sleeper(underlay: Nft) -> None:
    load(underlay, UNDERLAY)
    assert select.select([underlay.fileno()], [], [], 0)[0] == []
    somebody_else("flush chain ip netorch input")
    assert select.select([underlay.fileno()], [], [], 2)[0] != []


def test_a_changed_text_keeps_the_elements(underlay: Nft, home: int) -> None:
    load(underlay, UNDERLAY, *ELEMENTS)
    newer = msgspec.structs.replace(UNDERLAY, body=UNDERLAY.body + "counter extra {\n}\n")
    assert underlay.apply([Replace(UNDERLAY, newer)]) == []
    assert diff(by_key(newer, *ELEMENTS), fresh_dump(base.UNDERLAY, home)) == []


def test_elements_that_do_not_fit_a_new_text_cannot_hold_it_up(underlay: Nft) -> None:
    load(underlay, UNDERLAY, *ELEMENTS)
    newer = NftTable(netns=base.UNDERLAY, family="ip", body="set senders4 {\n    type ipv4_addr\n}\n")
    assert underlay.apply([Replace(UNDERLAY, newer)]) == []
    assert underlay.events() == [Lost(NFT_KINDS)]
    assert list(underlay.dump()) == [newer.key]


def test_a_wrong_text_leaves_the_old_table_in_force(underlay: Nft) -> None:
    load(underlay, UNDERLAY, *ELEMENTS)
    broken = msgspec.structs.replace(UNDERLAY, body="chain input { no such words }\n")
    failures = underlay.apply([Replace(UNDERLAY, broken)])
    assert [failure.error.errno for failure in failures] == [errno.EINVAL]
    assert diff(by_key(UNDERLAY, *ELEMENTS), underlay.dump()) == []


def test_one_bad_element_does_not_stop_the_others(underlay: Nft) -> None:
    load(underlay, UNDERLAY)
    good = [nftgen.sender("senders", "192.0.2.12", VNI, f"10.44.12.{i}") for i in range(1, 40)]
    homeless = msgspec.structs.replace(good[0], set="nowhere")
    malformed = msgspec.structs.replace(good[0], items=("192.0.2.12", "name", "0x1"))
    inject = msgspec.structs.replace(good[0], items=("192.0.2.12", "0x1", "0x1 }; flush ruleset; add table ip x {"))
    ops = [Create(obj) for obj in (*good[:20], homeless, *good[20:30], malformed, inject, *good[30:])]
    failures = underlay.apply(ops)
    assert {(failure.op.obj, failure.error.errno) for failure in failures} == {
        (homeless, errno.ENOENT),
        (malformed, errno.EINVAL),
        (inject, errno.EINVAL),
    }
    assert diff(by_key(UNDERLAY, *good), underlay.dump()) == []


def test_what_is_gone_already_may_be_deleted(underlay: Nft) -> None:
    assert underlay.apply([Delete(ELEMENTS[0]), Delete(UNDERLAY)]) == []
    load(underlay, UNDERLAY, *ELEMENTS[1:])
    assert underlay.apply([Delete(obj) for obj in ELEMENTS]) == []
    assert diff(by_key(UNDERLAY), underlay.dump()) == []


def test_what_is_there_already_may_be_created(underlay: Nft) -> None:
    load(underlay, UNDERLAY, *ELEMENTS)
    load(underlay, *ELEMENTS)
    assert diff(by_key(UNDERLAY, *ELEMENTS), underlay.dump()) == []


def test_a_map_is_read_as_it_was_written(underlay: Nft) -> None:
    text = "map zone {\n    typeof iifname : ct zone\n}\nmap out {\n    type ifname : verdict\n}\nchain c {\n}\n"
    table = NftTable(netns=base.UNDERLAY, family="ip", body=text)

    def entry(name: str, value: str) -> NftElement:
        return NftElement(netns=base.UNDERLAY, family="ip", set=name, items=("vx5000",), vni=VNI, value=value)

    load(underlay, table, entry("zone", "0x7"), entry("out", "goto c"))
    assert diff(by_key(table, entry("zone", "0x7"), entry("out", "goto c")), underlay.dump()) == []
    assert underlay.apply([Replace(entry("out", "goto c"), entry("out", "drop"))]) == []
    assert diff(by_key(table, entry("zone", "0x7"), entry("out", "drop")), underlay.dump()) == []


@pytest.mark.slow
def test_ten_thousand_elements_are_all_there(
    underlay: Nft, home: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    elements = [nftgen.sender("senders", "192.0.2.12", VNI, f"10.44.{i >> 8}.{i & 255}") for i in range(10_000)]
    load(underlay, UNDERLAY)
    figures: dict[str, float] = {}
    commit, transactions = CommitSocket.commit, [0]

    def counted(socket: CommitSocket, packed: bytes) -> int:
        transactions[0] += 1
        return commit(socket, packed)

    monkeypatch.setattr(CommitSocket, "commit", counted)

    def timed(what: str, ops: list[Create] | list[Delete] | list[Replace]) -> None:
        start = time.perf_counter()
        assert underlay.apply(ops) == []
        figures[what] = time.perf_counter() - start

    homeless = Create(msgspec.structs.replace(elements[0], set="nowhere"))
    start = time.perf_counter()
    failures = underlay.apply([Create(obj) for obj in elements[:5000]] + [homeless] + [Create(obj) for obj in elements[5000:]])
    figures["add 10,000 with a culprit"] = time.perf_counter() - start
    assert [failure.op for failure in failures] == [homeless]
    timed("delete 10,000", [Delete(obj) for obj in elements])
    transactions[0] = 0
    timed("add 10,000", [Create(obj) for obj in elements])
    assert transactions == [len(elements) // MOST]
    timed("add one", [Create(ELEMENTS[1])])
    # A dump may miss elements while a worker of the kernel still grows the set's hash table.
    wait_for(lambda: len(fresh_dump(base.UNDERLAY, home)) == 10_002, "all elements")
    start = time.perf_counter()
    fresh_dump(base.UNDERLAY, home)
    figures["dump"] = time.perf_counter() - start
    start = time.perf_counter()
    underlay.counters()
    figures["counters"] = time.perf_counter() - start
    timed("replace table", [Replace(UNDERLAY, UNDERLAY)])
    wait_for(lambda: len(underlay.dump()) == 10_002, "all elements of the new table")
    assert underlay.events() == []
    with capsys.disabled():
        print("\nnft: " + ", ".join(f"{what} {seconds * 1000:.1f} ms" for what, seconds in figures.items()))
