"""A host reads what it carries and writes what is its own, and nothing else: attacks with real certificates on a real etcd."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import ssl
import time
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from netorch.cli.identities.certificates import explaining
from netorch.control.identities.roles import role_of, sweep
from netorch.errors import StoreDenied, StoreUnavailable
from netorch.identity.authority import OPERATOR_LIFE, Authority, key_pem, new_key, utc_now
from netorch.identity.files import AUTHORITY, OWN, read_own, write
from netorch.records import keys
from netorch.store import open_store
from netorch.store.base import Compare, Delete, Event, Put, Store, Watch
from netorch.store.etcd.address import parse_address
from netorch.store.etcd.client import Client, Unanswered
from netorch.store.etcd.keyspace import Keyspace
from netorch.store.etcd.stream import Stream
from tests.integration.identities.conftest import PATIENCE_S, Cloud, until
from tests.rig.etcd.hosts import Hosts

pytestmark = pytest.mark.slow


def vnis(cloud: Cloud) -> tuple[int, int]:
    """Return the VNIs of the VPCs on hv1 and on hv2."""
    with contextlib.closing(cloud.store()) as store:
        found = {kv.key.split("/")[1]: kv.key.split("/")[3] for kv in store.list("host/").kvs if "/placement/" in kv.key}
    return int(found["hv1"][4:10], 16), int(found["hv2"][4:10], 16)


def failure_of(watch: Watch, within_s: float) -> Exception | None:
    """Return why a watch ends within a time, or None if it lives."""
    give_up = time.monotonic() + within_s
    try:
        while time.monotonic() < give_up:
            watch.poll()
            time.sleep(0.01)
    except StoreUnavailable as error:
        return error
    finally:
        watch.close()
    return None


def test_a_host_can_neither_read_nor_write_nor_watch_what_is_anothers(cloud: Cloud, hosts: dict[str, str]) -> None:
    own, foreign = vnis(cloud)
    with contextlib.closing(cloud.store()) as operator, contextlib.closing(cloud.store(hosts["hv1"])) as hv1:
        operator.txn((), [Put(keys.secret("hv2", "vpn-1"), b"sealed"), Put(keys.join_token("hv9"), b"{}")])
        carried = [keys.host_prefix("hv1"), "secret/hv1/", "underlay/mtu/", "pool/", keys.vpc_prefix(own), keys.map_prefix(own)]
        for prefix in carried:
            hv1.list(prefix)
        assert failure_of(hv1.watch(carried, hv1.revision() + 1), 1.0) is None
        theirs = [
            "", "vpc/", "map/", "host/", "secret/", "secret/hv2/", "secret/hv", "hoststat/", "hoststat/hv2/", "host/hv2/",
            "host/hv", "join/", "join/token/", "alloc/", "name/", "named/", "audit/",
            keys.vpc_prefix(foreign), keys.map_prefix(foreign),
        ]  # fmt: skip
        for prefix in theirs:
            with pytest.raises(StoreDenied):
                hv1.list(prefix)
            with pytest.raises(StoreDenied):
                hv1.list(prefix, hv1.revision())
            with pytest.raises(StoreDenied):
                hv1.get(prefix)
        for prefix in ("secret/hv2/", keys.vpc_prefix(foreign), "vpc/", "secret/hv"):
            assert isinstance(failure_of(hv1.watch([keys.host_prefix("hv1"), prefix], 1), PATIENCE_S), StoreDenied)
        ours = [keys.agent_status("hv1"), keys.host_live("hv1"), keys.host_mtu("hv1")]
        for key in ours:
            assert hv1.txn((), [Put(key, b"{}")]).succeeded
            assert hv1.txn((), [Delete(key)]).succeeded
        before = {kv.key: kv.mod_revision for kv in operator.list("").kvs}
        unwritable = [
            keys.agent_status("hv2"), keys.host_live("hv2"), keys.host_mtu("hv2"), keys.host_spec("hv1"),
            keys.host_drained("hv1"), keys.placement("hv1", f"eni-{foreign:06x}00000000001"), keys.secret("hv1", "x"),
            keys.secret("hv2", "x"), keys.vpc(own), keys.vpc(foreign), keys.mapping(own, "10.44.12.4"),
            keys.mapping(foreign, "10.45.12.4"),
            keys.enrolment(), keys.join_token("hv1"), keys.last_change(), keys.pool("x"),
        ]  # fmt: skip
        for key in unwritable:
            with pytest.raises(StoreDenied):
                hv1.txn((), [Put(key, b"{}")])
            with pytest.raises(StoreDenied):  # one operation is permitted, one is not: nothing happens
                hv1.txn((), [Put(keys.agent_status("hv1"), b"{}"), Delete(key)])
        with pytest.raises(StoreDenied):  # what cannot be read cannot be guessed by comparing either
            hv1.txn([Compare(keys.secret("hv2", "vpn-1"), 7)], [Put(keys.agent_status("hv1"), b"{}")])
        assert {kv.key: kv.mod_revision for kv in operator.list("").kvs} == before


def test_a_host_changes_neither_users_nor_rights(cloud: Cloud, hosts: dict[str, str]) -> None:
    from netorch.store import open_access
    from netorch.store.access import Right

    access = open_access(hosts["hv1"])
    assert access is not None
    with contextlib.closing(access):
        for attack in (
            access.users,
            lambda: access.rights(role_of("hv2")),
            lambda: access.grant(role_of("hv1"), [Right("secret/")]),
            lambda: access.revoke(role_of("hv2"), [Right("secret/hv2/")]),
            lambda: access.add_user("host/evil/1", "root"),
            lambda: access.delete_user("root"),
            lambda: access.enable("host/evil/1"),
        ):
            with pytest.raises(StoreDenied):
                attack()


def test_two_machines_with_the_certificate_of_one_host_report_each_other(
    cloud: Cloud, hosts: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    with (
        contextlib.closing(cloud.store()) as operator,
        contextlib.closing(Hosts({"hv1": hosts["hv1"]}, tmp_path / "first")) as first,
        contextlib.closing(Hosts({"hv1": hosts["hv1"]}, tmp_path / "second")) as second,
    ):

        def status() -> bytes:
            second.agents["hv1"].step(0.02)
            said = operator.get(keys.agent_status("hv1"))
            return said.value if said is not None else b""

        first.until(lambda: operator.get(keys.agent_status("hv1")) is not None)
        first.until(lambda: status() != b"" and "speaks for this host" in second.agents["hv1"].publisher.trouble)
        first.agents["hv1"].records.dirty.host = True  # as once a minute
        first.until(lambda: b"claims to be this host" in status())
        operator.txn((), [Delete(keys.host_live("hv1"))])  # the next test begins with another kernel


def test_only_a_valid_certificate_of_this_authority_opens_the_store(cloud: Cloud, hosts: dict[str, str]) -> None:
    secured = cloud.secured
    with contextlib.closing(secured.access()) as access:
        user = next(user for user in access.users() if user.startswith("host/hv1/"))
    past = utc_now() - 2 * OPERATOR_LIFE
    cases = {
        "expired": (secured.identity("expired", user, now=past), StoreUnavailable),
        "not yet valid": (secured.identity("early", user, now=utc_now() + timedelta(days=1)), StoreUnavailable),
        "another authority's": (
            secured.identity("forged", user, authority=Authority.new("a cloud", utc_now())),
            StoreUnavailable,
        ),
        "nobody's": (secured.identity("nobody", "host/hv1/ffffffff"), StoreDenied),
        "of a name that etcd gives all rights": (secured.identity("empty", "host/root/1"), StoreDenied),
    }
    for what, (directory, error) in cases.items():
        with pytest.raises(error):
            print(what, open_store(secured.url(directory), patience_s=0.5).revision())
    with pytest.raises(StoreUnavailable):  # no certificate at all
        open_store(secured.url(secured.operator).partition("&")[0], patience_s=0.5)
    with contextlib.closing(open_store(secured.url(secured.identity("same", user)), patience_s=0.5)) as fine:
        fine.list(keys.host_prefix("hv1"))


def test_operators_come_and_go_and_the_last_one_stays(cloud: Cloud, hosts: dict[str, str], tmp_path: Path) -> None:
    place = ("--dir", str(cloud.secured.directory))
    said = cloud.run("ca", "operator", "bob", *place, "--out", str(tmp_path / "bob"))
    bob = said.split('store = "')[1].split('"')[0]
    assert [line.split()[:2] for line in cloud.run("ca", "list", url=bob).splitlines()[1:] if "operator" in line] == [
        ["operator", "alice"], ["operator", "bob"]
    ]  # fmt: skip
    cloud.run("vpc", "create", "bobs", "--cidr", "10.9.0.0/16", url=bob)
    cloud.run("ca", "operator", "bob", *place, "--out", str(tmp_path / "bob"), url=bob)  # he renews his own, where it is
    assert cloud.run("ca", "list", url=bob).count("operator/bob/") == 1
    cloud.run("ca", "operator", "bob", *place, "--out", str(tmp_path / "bob-again"))
    with pytest.raises(StoreDenied):
        cloud.store(bob)
    cloud.run("vpc", "delete", "bobs", url=cloud.secured.url(tmp_path / "bob-again"))
    cloud.run("ca", "revoke", "bob")
    again = cloud.secured.url(tmp_path / "bob-again")
    with pytest.raises(StoreDenied):
        cloud.store(again)
    before = (tmp_path / "bob-again/own.pem").read_bytes()
    cloud.run("ca", "operator", "bob", *place, "--out", str(tmp_path / "bob-again"), code=1, url=again)
    assert (tmp_path / "bob-again/own.pem").read_bytes() == before, "a refused renewal replaces nothing"
    taken = cloud.run("ca", "operator", "carol", *place, "--out", str(tmp_path / "bob-again"), code=1)
    assert "is another identity, operator/bob/" in taken
    assert "carol" not in cloud.run("ca", "list")
    assert "that is you" in cloud.run("ca", "revoke", "alice", code=1)
    assert "none of that name" in cloud.run("ca", "revoke", "bob", code=1)
    assert "an authority already exists" in cloud.run("ca", "create", "eve", *place, "--out", str(tmp_path / "eve"), code=1)
    for words in ("ca list", "ca revoke alice", "host token hv1", "host revoke hv1"):
        cloud.run(*words.split(), code=1, url=hosts["hv2"])
        assert "no identities" in cloud.run(*words.split(), code=1, url=str(tmp_path / "db"))
    assert "is not an operator" in cloud.run("ca", "enable", code=1, url=hosts["hv2"])


def test_expired_operators_and_members_come_back_by_the_authority_alone(cloud: Cloud, tmp_path: Path) -> None:
    secured, place = cloud.secured, ("--dir", str(cloud.secured.directory))
    operator, member = secured.operator / OWN, secured.directory / "member.pem"
    before = {path: path.read_bytes() for path in (operator, member)}
    user, past = read_own(secured.operator).user, utc_now() - 2 * OPERATOR_LIFE
    try:
        copied = secured.identity("expired", user, now=past) / OWN
        operator.write_bytes(copied.read_bytes())
        key = new_key()
        expired = secured.authority.for_member(key.public_key(), ["127.0.0.1", "localhost"], past)
        member.write_bytes(key_pem(key) + expired.encode())
        fix = f"your certificate {operator} has expired .* netorch ca renew alice --out DIRECTORY"
        with pytest.raises(StoreUnavailable, match=fix), explaining(cloud.operator_url):
            cloud.store(patience_s=0.5)
        cloud.run("ca", "member", "127.0.0.1", "localhost", *place, "--out", str(member))
        with pytest.raises(StoreUnavailable):  # the operator's has not been renewed yet
            cloud.store(patience_s=0.5)
        cloud.run("ca", "renew", "alice", *place, "--out", str(secured.operator))
        assert "hv1" in cloud.run("host", "list")
        assert read_own(secured.operator).user == user
        rows = json.loads(cloud.run("ca", "list", *place, "-o", "json"))
        ends = {(row["kind"], row["name"]): row["expires"] for row in rows}
        year = f"{utc_now() + OPERATOR_LIFE:%Y-%m}"
        assert [ends[each][:7] for each in (("operator", "alice"), ("member", "127.0.0.1"))] == [year, year]
        assert ends["authority", "netorch"] > ends["operator", "alice"]
        shutil.rmtree(secured.operator)
        cloud.run("ca", "renew", "alice", *place, "--out", str(secured.operator))  # the files are lost, too
        cloud.run("vpc", "create", "after", "--cidr", "10.9.0.0/16")
        cloud.run("vpc", "delete", "after")
    finally:
        for path, content in before.items():
            write(path, content, secret=True)


def test_rights_follow_placements_peerings_and_moves(cloud: Cloud, hosts: dict[str, str], tmp_path: Path) -> None:
    own, foreign = (f"{vni:06x}" for vni in vnis(cloud))

    def rights(host: str) -> set[str]:
        with contextlib.closing(cloud.secured.access()) as access:
            return {right.place[4:10] for right in access.rights(role_of(host)) or () if right.place.startswith(("vpc/", "map/"))}

    with contextlib.closing(Hosts(hosts, tmp_path)) as both:
        both.until(lambda: both.in_sync() and both.carried("hv1") == {own} and both.carried("hv2") == {foreign})
        assert (rights("hv1"), rights("hv2")) == ({own}, {foreign})
        cloud.run("instance", "run", "web-9", "--subnet", "globex/app", "--host", "hv1", "--no-wait")
        both.until(lambda: both.in_sync() and both.carried("hv1") == {own, foreign})
        cloud.run("instance", "move", "globex/web-9", "hv2", "--no-wait")
        both.until(lambda: both.in_sync() and both.carried("hv1") == {own})  # both agents have written their parts of the move
        with contextlib.closing(cloud.store()) as store, contextlib.closing(cloud.secured.access()) as access:
            for name in hosts:
                sweep(store, access, name)  # agents' changes leave rights behind; the enrolment service does this all the time
        assert (rights("hv1"), rights("hv2")) == ({own}, {foreign})
        cloud.run("peering", "request", "pair", "--vpc", "acme", "--peer", "globex")
        cloud.run("peering", "accept", "acme/pair")
        both.until(lambda: both.in_sync() and both.carried("hv1") == both.carried("hv2") == {own, foreign})
        both.agents["hv2"].follower.close()  # it does not learn that the peering ends before it may not read the peer's records
        cloud.run("peering", "delete", "acme/pair")
        assert (rights("hv1"), rights("hv2")) == ({own}, {foreign})
        both.until(lambda: both.in_sync() and both.carried("hv1") == {own} and both.carried("hv2") == {foreign})


def test_an_interrupted_action_leaves_a_right_too_many_and_never_one_too_few(cloud: Cloud, hosts: dict[str, str]) -> None:
    from netorch.control.identities.roles import GrantingStore
    from netorch.store.access import Right

    _, foreign = vnis(cloud)
    placed = Put(keys.placement("hv1", f"eni-{foreign:06x}00000000001"), b"{}")
    wanted = {Right(keys.vpc_prefix(foreign)), Right(keys.map_prefix(foreign))}

    class Killed(Exception):
        pass

    class Dies:
        def __init__(self, store: Store) -> None:
            self.store = store
            self.get, self.list, self.revision = store.get, store.list, store.revision

        def txn(self, compares: object, ops: object) -> None:
            assert wanted <= (access.rights(role_of("hv1")) or set())
            raise Killed

    with contextlib.closing(cloud.store()) as store, contextlib.closing(cloud.secured.access()) as access:
        before = access.rights(role_of("hv1"))
        assert before is not None
        assert not wanted & before
        dying = GrantingStore(Dies(store), access)  # type: ignore[arg-type]
        with pytest.raises(Killed):
            dying.txn((), [placed])
        assert wanted <= (access.rights(role_of("hv1")) or set())
        sweep(store, access, "hv1")
        assert access.rights(role_of("hv1")) == before
        lost = GrantingStore(store, access).txn([Compare(keys.host_spec("hv1"), 0)], [placed])  # lost the race
        assert not lost.succeeded
        assert access.rights(role_of("hv1")) == before


def test_a_revoked_host_gets_nothing_and_its_watches_end(cloud: Cloud, hosts: dict[str, str]) -> None:
    cloud.run("host", "create", "hv3", "--underlay", "192.0.2.13")
    url = cloud.join("hv3", cloud.token("hv3"))
    seen: list[Event] = []
    with contextlib.closing(cloud.store(url)) as hv3, contextlib.closing(cloud.store()) as operator:
        hv3.txn((), [Put(keys.host_live("hv3"), b"{}")])  # without a lease
        watch = hv3.watch([keys.host_prefix("hv3")], hv3.revision() + 1)
        cloud.run("host", "revoke", "hv3")
        assert operator.get(keys.host_live("hv3")) is None
        with pytest.raises(StoreDenied):
            hv3.list(keys.host_prefix("hv3"))
        with pytest.raises(StoreDenied):
            hv3.txn((), [Put(keys.host_live("hv3"), b"{}")])
        operator.txn((), [Put(keys.host_drained("hv3"), b"true")])
        failure = None
        give_up = time.monotonic() + PATIENCE_S
        while failure is None and time.monotonic() < give_up:
            try:
                seen += watch.poll()
            except StoreDenied as error:
                failure = error
            time.sleep(0.01)
        watch.close()
        assert failure is not None  # the agent's own client reads the mark of each delivery, and learns that it is nobody
        assert seen == []
        operator.txn((), [Delete(keys.host_drained("hv3"))])
    assert "host/hv3/" not in cloud.run("ca", "list", "-o", "json")
    again = cloud.join("hv3-again", cloud.token("hv3"))
    with contextlib.closing(cloud.store(again)) as back:
        back.list(keys.host_prefix("hv3"))
    with pytest.raises(StoreDenied):
        cloud.store(url)  # the earlier certificate is valid, and nobody's
    cloud.run("host", "delete", "hv3")
    with pytest.raises(StoreDenied):
        cloud.store(again)


def test_a_stream_that_a_manipulated_host_keeps_open_ends_with_its_member(cloud: Cloud, hosts: dict[str, str]) -> None:
    """etcd checks rights when a watch begins only. That is why `host revoke` says to restart the members."""
    cloud.run("host", "create", "hv7", "--underlay", "192.0.2.17")
    address = parse_address(cloud.join("hv7", cloud.token("hv7")))
    client, keyspace = Client(address, 2.0), Keyspace(address.name)
    spec = keyspace.range(keys.host_prefix("hv7"))

    def events(stream: Stream) -> list[bytes]:
        return [event.kv.key for answer in stream.answers(0.1) for event in answer.events]

    with contextlib.closing(client), contextlib.closing(Stream(client, [spec], 0)) as stream:
        until(lambda: any(answer.created for answer in stream.answers(0.1)))
        cloud.run("host", "revoke", "hv7")
        cloud.run("host", "tag", "hv7", "seen=yes")
        until(lambda: events(stream))
        member = cloud.secured.cluster.members[0]
        member.kill()
        cloud.secured.cluster.start(member)
        with pytest.raises(Unanswered):
            until(lambda: events(stream))
        until(lambda: _is_up(cloud))
        with contextlib.closing(Stream(client, [spec], 0)) as again:
            until(lambda: any("permission denied" in answer.cancel_reason for answer in again.answers(0.1)))


def _is_up(cloud: Cloud) -> bool:
    with contextlib.suppress(StoreUnavailable), contextlib.closing(cloud.store()) as store:
        return store.revision() > 0
    return False


def test_only_members_may_speak_at_the_peer_port(cloud: Cloud, hosts: dict[str, str]) -> None:
    """It knows no users, and takes proposals in any user's name."""
    secured = cloud.secured
    peer = urlsplit(secured.cluster.members[0].peer)

    def answer(own: Path) -> int:
        tls = ssl.create_default_context(cafile=str(secured.directory / AUTHORITY))
        tls.load_cert_chain(own)
        connection = http.client.HTTPSConnection(str(peer.hostname), peer.port, context=tls, timeout=5.0)
        with contextlib.closing(connection):
            connection.request("GET", "/members")
            return connection.getresponse().status

    assert answer(secured.directory / "member.pem") == 200
    host = parse_address(hosts["hv1"]).cert
    assert host is not None
    for own in (host, secured.operator / OWN):
        with pytest.raises(OSError):
            answer(own)
