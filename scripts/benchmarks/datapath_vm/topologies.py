"""Two hosts with one instance each: hand-built plain VXLAN, and netorch's topology with parts of a ruleset by hand."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from netorch.agent.loop import Agent
from netorch.agent.snapshot import SnapshotFile
from netorch.compiler.registry import load_compilers
from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.drivers import netns
from netorch.drivers.linux import LinuxKernel
from netorch.model.cloud import Cloud, HostDecl, IngressDecl, InstanceDecl, RouteTableDecl, SecurityGroupDecl, SubnetDecl, VpcDecl
from netorch.model.eni import Attachment
from netorch.records.caller import Caller
from netorch.state.owner import overlay_netns
from netorch.store import open_store
from netorch.store.base import Put
from netorch.store.rules import MAX_OPS

VNI = 5_000
PATIENCE_S = 60


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """A host and the instance on it."""

    host: str
    underlay: str  # MAC of eth0
    vtep: str
    instance: str  # name of its namespace
    subnet: str
    address: str
    subnet6: str
    ipv6_address: str
    mac: str


SIDES = (
    Side(
        host="hv1",
        underlay="02:00:00:00:00:01",
        vtep="192.0.2.1",
        instance="i-1",
        subnet="10.44.12.0/24",
        address="10.44.12.4",
        subnet6="fd00:44:0:12::/64",
        ipv6_address="fd00:44:0:12::4",
        mac="02:00:00:00:01:04",
    ),
    Side(
        host="hv2",
        underlay="02:00:00:00:00:02",
        vtep="192.0.2.2",
        instance="i-2",
        subnet="10.44.13.0/24",
        address="10.44.13.5",
        subnet6="fd00:44:0:13::/64",
        ipv6_address="fd00:44:0:13::5",
        mac="02:00:00:00:01:05",
    ),
)
PAIRS = (SIDES, SIDES[::-1])  # (here, there)


def run(*argv: str, text: str | None = None) -> str:
    """Run a command and return its output. Raises RuntimeError with the command's error text."""
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: {done.stderr.strip()}")
    return done.stdout


def ip(namespace: str, *lines: str) -> None:
    """Run lines of `ip` in a namespace."""
    run("ip", "-n", namespace, "-batch", "-", text="\n".join(lines))


def clear() -> None:
    """Remove every namespace."""
    for line in run("ip", "netns", "list").splitlines():
        run("ip", "netns", "delete", line.split()[0])


def underlay() -> None:
    """Make two hosts joined by a veth, with permanent neighbours, and the instances' namespaces."""
    for side in SIDES:
        run("ip", "netns", "add", side.host)
        run("ip", "netns", "add", side.instance)
    ends = (f"eth0 netns {side.host} mtu 1550 address {side.underlay}" for side in SIDES)
    run(*"ip link add {} type veth peer {}".format(*ends).split())
    for here, there in PAIRS:
        ip(
            here.host,
            "link set lo up",
            f"addr add {here.vtep}/24 dev eth0",
            "link set eth0 addrgenmode none up",
            f"neigh replace {there.vtep} lladdr {there.underlay} dev eth0 nud permanent",
        )


def build_plain() -> str:
    """Build by hand a bridge with a VXLAN device and a veth on each host; return the destination MAC for the sender's frames."""
    underlay()
    for here, there in PAIRS:
        ip(
            here.host,
            "link add br0 type bridge",
            f"link add vx0 mtu 1500 type vxlan id {VNI} dstport 4789 local {here.vtep} nolearning",
            f"link add port mtu 1500 type veth peer name eth0 mtu 1500 address {here.mac} netns {here.instance}",
            "link set vx0 master br0",
            "link set port master br0",
            *(f"link set {name} addrgenmode none up" for name in ("br0", "vx0", "port")),
        )
        ip(here.instance, "link set eth0 addrgenmode none up")
        run(*f"bridge -n {here.host} fdb add {there.mac} dev vx0 dst {there.vtep} self permanent".split())
        run(*f"bridge -n {here.host} fdb add {there.mac} dev vx0 master static".split())
    return SIDES[1].mac


def cloud(others: int, tables: int, *, dual_stack: bool) -> Cloud:
    """Return a VPC with the two instances, and `others` more VPCs on both hosts, half of them with smaller VNIs.

    With several route tables, the subnets of the two instances use one each, and both hosts have a port in each of the rest.
    """
    first = VNI - others // 2
    ranges6 = {side.host: side.subnet6 if dual_stack else "" for side in SIDES}
    return Cloud(
        hosts=[HostDecl(name=side.host, underlay=side.vtep) for side in SIDES],
        vpcs=[
            VpcDecl(
                name=f"vpc-{vni}",
                owner="customer",
                cidrs=["10.44.0.0/16"],
                ipv6_cidrs=["fd00:44::/56"] if dual_stack else [],
                vni=vni,
                route_tables=[RouteTableDecl(name=f"t{number}") for number in range(1, tables)],
                subnets=[
                    *(
                        SubnetDecl(
                            name=f"of-{side.host}",
                            cidr=side.subnet,
                            ipv6_cidr=ranges6[side.host],
                            route_table=f"t{number}" if number < tables else "",
                        )
                        for number, side in enumerate(SIDES, 1)
                    ),
                    *(
                        SubnetDecl(name=f"of-t{number}", cidr=f"10.44.{100 + number}.0/24", route_table=f"t{number}")
                        for number in range(3, tables)
                    ),
                ],
                security_groups=[_GROUP],
                instances=[
                    *(_instance(side, measured=vni == VNI, dual_stack=dual_stack) for side in SIDES),
                    *(_beside(side, number) for number in range(3, tables) for side in SIDES),
                ],
            )
            for vni in range(first, first + others + 1)
        ],
    )


_GROUP = SecurityGroupDecl(name="measured", ingress=[IngressDecl(protocol="all", source="sg-measured")])


def _instance(side: Side, *, measured: bool, dual_stack: bool) -> InstanceDecl:
    decl = InstanceDecl(
        name=f"on-{side.host}",
        subnet=f"of-{side.host}",
        host=side.host,
        address=side.address,
        ipv6_address=side.ipv6_address if dual_stack else "",
        security_groups=[_GROUP.name],
        attachment=Attachment.TAP,
    )
    if not measured:
        return decl
    return msgspec.structs.replace(decl, mac=side.mac, attachment=Attachment.EXISTING, netns=side.instance)


def _beside(side: Side, number: int) -> InstanceDecl:
    name = f"on-{side.host}-{number}"
    return InstanceDecl(
        name=name, subnet=f"of-t{number}", host=side.host, security_groups=[_GROUP.name], attachment=Attachment.TAP
    )


class Site:
    """The cloud as the control plane and an agent for each host have built it and maintain it."""

    def __init__(self, others: int = 0, tables: int = 1, *, dual_stack: bool = False) -> None:
        underlay()
        self._directory = tempfile.TemporaryDirectory()
        path = f"{self._directory.name}/netorch.db"
        self.store = open_store(path, create=True)
        apply_cloud(self.store, plan_cloud(self.store, Caller(operator=True), cloud(others, tables, dual_stack=dual_stack)))
        self._agents: list[Agent] = []
        for side in SIDES:
            descriptor = netns.find(side.host)
            with netns.inside(descriptor):
                kernel = LinuxKernel(side.host)
            os.close(descriptor)
            snapshot = SnapshotFile(Path(self._directory.name, side.host))
            agent = Agent(side.host, kernel, lambda: open_store(path), snapshot, load_compilers())
            self._agents.append(agent)
            agent.start()
        self._check()

    def put(self, records: Sequence[tuple[str, msgspec.Struct]], *, apply: bool = True) -> None:
        """Write records, and let the agents act on them."""
        for start in range(0, len(records), MAX_OPS):
            self.store.txn((), [Put(key, msgspec.json.encode(record)) for key, record in records[start : start + MAX_OPS]])
        if apply:
            for agent in self._agents:
                agent.turn()
            self._check()

    def close(self) -> None:
        """End the agents; everything they built stays."""
        for agent in self._agents:
            agent.close()
        self.store.close()
        self._directory.cleanup()

    def _check(self) -> None:
        """Wait until no agent has a problem: netorch's own daemon starts slowly in such a machine. Raises RuntimeError."""
        for agent in self._agents:
            for _ in range(PATIENCE_S):
                if not agent.reconciler.problems:
                    break
                time.sleep(1)
                agent.turn()
            else:
                raise RuntimeError(f"agent of {agent.host_name}: {agent.reconciler.problems}")


def without_rules() -> None:
    """Delete netorch's tables."""
    for side in SIDES:
        for namespace in (side.host, overlay_netns(side.host)):
            run("ip", "netns", "exec", namespace, "nft", "flush", "ruleset")


def port_name_in(namespace: str) -> str:
    """Return the name of the only port in an overlay."""
    (line,) = (line for line in run("ip", "-n", namespace, "-br", "link").splitlines() if line.startswith("v-"))
    return line.split("@")[0]


# What an expert types against spoofing: peers in a set, since a host has many, and the port's own addresses inline.
VERIFY_BY_HAND = """
table inet hand {
    set peers {
        typeof ip saddr . @th,64,32 . @th,96,32 . @th,336,32
        elements = { %(peer)s . 0x08000000 . %(vni)d . %(inner)s }
    }
    chain verify {
        type filter hook input priority -10; policy accept;
        udp dport != 4789 accept
        @th,224,16 0x0800 ip saddr . @th,64,32 . @th,96,32 . @th,336,32 @peers meta priority set %(verified)s accept
        udp dport 4789 counter drop
    }
}
"""
SPOOF_ON_THE_PORT = """
table netdev hand {
    chain spoof {
        type filter hook ingress device "%(port)s" priority -450; policy accept;
        ether saddr != %(mac)s drop
        ip saddr != %(address)s drop
        ip protocol icmp goto errors
    }
    chain errors {
        icmp type { 3, 4, 11, 12 } ip frag-off & 16383 == 0 @th,192,32 %(own)s accept
        icmp type { 3, 4, 5, 11, 12 } drop
    }
}
"""


def load_in(namespace: str, text: str) -> None:
    """Load nft commands in a namespace."""
    run("ip", "netns", "exec", namespace, "nft", "-f", "-", text=text)
