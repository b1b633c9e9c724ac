"""Connections opened before, under every pair of ACLs: what passes in each direction, and that only whole ones are offloaded."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Final

import pytest

from netorch.control.actions.subnets import associate_network_acl
from netorch.control.views.describe import resolve
from tests.integration.policy.offloaded import HOSTS, offloaded
from tests.integration.policy.test_connections import FREE, GROUPS, TRACKED
from tests.rig.policed import CLIENT, DB_FAR, DB_NEAR, PASSED, Policed, Talk, cloud, policed, vpc

pytestmark = pytest.mark.root

MEMBERS: Final = {"client": "clients", "near": "servers", "far": "servers", "db-near": "servers", "db-far": "servers"}
SERVERS_PORTS, CLIENTS_PORTS = "1-9000", "9001-65535"  # TRACKED and FREE; the ports of the client
# What a subnet's ACL lets in and out: the ports that a client's packets have, and those that a server's answers have.
ACLS: Final = {
    "client": ([CLIENTS_PORTS], [SERVERS_PORTS]),
    "client-in": ([CLIENTS_PORTS], []),
    "client-out": ([], [SERVERS_PORTS]),
    "server": ([SERVERS_PORTS], [CLIENTS_PORTS]),
    "server-in": ([SERVERS_PORTS], []),
    "server-out": ([], [CLIENTS_PORTS]),
    "wide": ([SERVERS_PORTS, CLIENTS_PORTS], [SERVERS_PORTS, CLIENTS_PORTS]),
    "open-in": (["0-65535"], []),
    "open-out": ([], ["0-65535"]),
    "default": (["0-65535"], ["0-65535"]),
}
AT_CLIENT = ("default", "client", "client-in", "client-out", "wide", "open-in", "open-out")
AT_SERVER = ("default", "server", "server-in", "server-out", "wide", "open-in", "open-out")


def entries(allowed: list[str]) -> str:
    """Return the entries of a direction, for IPv4 and IPv6; one that allows all ports allows everything."""
    numbered = enumerate(itertools.product(allowed, ("0.0.0.0/0", "'::/0'")), 100)
    return ", ".join(
        f"{{rule: {number}, action: allow, cidr: {cidr}, "
        + ("protocol: all}" if ports == "0-65535" else f"protocol: tcp, ports: {ports}}}")
        for number, (ports, cidr) in numbered
    )


def allows(acl: str, ingress: bool, ports: str) -> bool:
    """Return whether an ACL lets packets to these ports in or out."""
    return not {ports, "0-65535"}.isdisjoint(ACLS[acl][0 if ingress else 1])


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Policed]:
    """A client and servers in another subnet, and an ACL of each kind."""
    acls = ",\n".join(
        f"{{name: {name}, ingress: [{entries(into)}], egress: [{entries(out)}]}}"
        for name, (into, out) in ACLS.items()
        if name != "default"
    )
    text = cloud(vpc("acme", GROUPS, MEMBERS, acls), vpc("globex", GROUPS, MEMBERS))
    with policed(tmp_path_factory.mktemp("pairs"), text) as lab:
        yield lab


class Opened(Talk):
    """A connection that was opened while every ACL allowed everything."""

    def __init__(self, lab: Policed, server: str, version: int, port: int) -> None:
        super().__init__(lab, CLIENT, server, port, version)
        self.server, self.name = server, f"{server} IPv{version} {port}"
        self._lab, self._port = lab, self._ports[CLIENT]
        self.opens()

    def verdicts(self) -> tuple[list[str], list[str]]:
        """Return those on three segments of the client, and on three of the server, by turns."""
        turns = [(self.says(CLIENT, "PA"), self.says(self.server, "PA")) for _ in range(3)]
        return [client for client, _ in turns], [server for _, server in turns]

    def offloaded_at(self) -> set[str]:
        """Return the hosts whose flowtables forward it."""
        return {host for host in (HOSTS[CLIENT], HOSTS[self.server]) if offloaded(self._lab, host, self._port)}


def test_each_direction_passes_as_both_acls_say_and_no_half_connection_is_offloaded(lab: Policed) -> None:
    opened = [Opened(lab, *kind) for kind in itertools.product((DB_NEAR, DB_FAR), (4, 6), (TRACKED, FREE))]
    for at_client, at_server in itertools.product(AT_CLIENT, AT_SERVER):
        associate(lab, app=at_client, db=at_server)
        whole = {
            HOSTS[CLIENT]: allows(at_client, False, SERVERS_PORTS) and allows(at_client, True, CLIENTS_PORTS),
            HOSTS[DB_FAR]: allows(at_server, True, SERVERS_PORTS) and allows(at_server, False, CLIENTS_PORTS),
        }
        asked = _verdict(at_client, at_server, SERVERS_PORTS)
        answered = _verdict(at_server, at_client, CLIENTS_PORTS)
        for each in opened:
            where = (each.name, at_client, at_server)
            assert (where, each.verdicts()) == (where, ([asked] * 3, [answered] * 3))
            hosts = each.offloaded_at()
            if asked == answered == PASSED:
                assert (where, hosts) == (where, {HOSTS[CLIENT], HOSTS[each.server]})
            elif each.server == DB_NEAR:  # both ACLs are on this host
                assert (where, hosts) == (where, set())
            else:
                assert all(whole[host] for host in hosts), where


def associate(lab: Policed, **names: str) -> None:
    """Associate ACLs with subnets, and wait until they are in force."""
    world = lab.world
    for subnet, name in names.items():
        found = (
            resolve(world.inventory(), world.caller, kind, f"acme/{of}")[1] for kind, of in (("subnet", subnet), ("acl", name))
        )
        associate_network_acl(world.store, world.caller, *(record.id for record in found))
    lab.settle()


def _verdict(sender: str, receiver: str, ports: str) -> str:
    if not allows(sender, False, ports):
        return "acl_egress"
    return PASSED if allows(receiver, True, ports) else "acl_ingress"
