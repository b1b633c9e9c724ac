"""The attacked cloud: two customers with the same addresses, a stranger on the underlay, a listener at every victim."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pyroute2 import IPRoute

from netorch.drivers import netns
from tests.rig.crafted import framed, send_frames
from tests.rig.packets import PATIENCE_S, PacketListener, udp
from tests.rig.world import World

CLOUD = """
vpcs:
- name: acme
  vni: 20000
  cidrs: [10.44.0.0/16]
  ipv6_cidrs: ['fd00:44:0:100::/56']
  subnets: [{name: app, cidr: 10.44.12.0/24, ipv6_cidr: 'fd00:44:0:100::/64'}]
  instances:
  - {name: a, host: hv1, address: 10.44.12.4, ipv6_address: 'fd00:44:0:100::4'}
  - {name: b, host: hv2, address: 10.44.12.5, ipv6_address: 'fd00:44:0:100::5'}
  - {name: c, host: hv3, address: 10.44.12.6, ipv6_address: 'fd00:44:0:100::6'}
  - {name: e, host: hv2, address: 10.44.12.8, ipv6_address: 'fd00:44:0:100::8'}
- name: globex
  vni: 30000
  cidrs: [10.44.0.0/16, 10.50.0.0/16]
  ipv6_cidrs: ['fd00:44:0:100::/56', 'fd00:50:0:100::/56']
  subnets:
  - {name: app, cidr: 10.44.12.0/24, ipv6_cidr: 'fd00:44:0:100::/64'}
  - {name: db, cidr: 10.50.1.0/24, ipv6_cidr: 'fd00:50:0:100::/64'}
  instances:
  - {name: a, subnet: app, host: hv1, address: 10.44.12.4, ipv6_address: 'fd00:44:0:100::4'}
  - {name: b, subnet: app, host: hv2, address: 10.44.12.5, ipv6_address: 'fd00:44:0:100::5'}
  - {name: f, subnet: db, host: hv2, address: 10.50.1.4, ipv6_address: 'fd00:50:0:100::4'}
"""
A4, B4, C4, E4 = "10.44.12.4", "10.44.12.5", "10.44.12.6", "10.44.12.8"
A6, B6, C6, E6 = (f"fd00:44:0:100::{number}" for number in (4, 5, 6, 8))
GATEWAY4, GATEWAY6 = "10.44.12.1", "fd00:44:0:100::1"
HV1, HV2, HV3, STRANGER = "192.0.2.11", "192.0.2.12", "192.0.2.13", "198.51.100.9"
VICTIMS = ("acme/a", "acme/c", "acme/e", "globex/a", "globex/b", "globex/f")
BROADCAST_MAC = "ff:ff:ff:ff:ff:ff"
OTHER_MAC = "06:00:00:00:00:99"


class Site:
    """The attacked cloud, with names looked up once."""

    def __init__(self, world: World) -> None:
        self.world = world
        names = ("acme/b", *VICTIMS)
        self.netns = {name: world.instance(name).id for name in names}
        self.mac = {name: world.eni(name).mac for name in names}
        self.b = self.netns["acme/b"]

    def dropped(self, host: str) -> int:
        """Return the number of packets that a host dropped, for any reason."""
        return sum(self.world.counters(host).values())

    @contextmanager
    def nobody_hears(self, needle: bytes, *, wire: str = "") -> Iterator[None]:
        """Check that packets sent in the block reach no victim and, with `wire`, do not leave that host."""
        with ExitStack() as stack:
            listeners = {name: stack.enter_context(PacketListener(self.netns[name])) for name in VICTIMS}
            leaving = stack.enter_context(PacketListener("spine", f"to-{wire}")) if wire else None
            yield
            self.settle(listeners["acme/a"], listeners["acme/e"])
            heard = [name for name, listener in listeners.items() if listener.heard(needle)]
            assert not heard
            assert leaving is None or not leaving.heard(needle)

    def settle(self, *listeners: PacketListener) -> None:
        """Wait until harmless packets of the attacker have reached its neighbours on this and the other host."""
        marker = b"harmless " + os.urandom(8)
        frames = [framed(self.mac["acme/b"], udp(B4, address, marker)) for address in (A4, E4)]
        send_frames(self.b, "eth0", frames)
        for listener in listeners:
            assert listener.hears(marker, within_s=PATIENCE_S)


@contextmanager
def attacked(directory: Path) -> Iterator[Site]:
    """Yield the cloud and a stranger on its underlay; at the end, check that the victims lost none of their own traffic."""
    world = World(directory)
    stranger = netns.make("stranger")
    try:
        _cable_stranger(stranger)
        world.start_agents()
        world.apply(CLOUD)
        _lift_limits(world)
        streams = [world.traffic("globex/b", "globex/a", 0.02), world.traffic("acme/c", "acme/e", 0.02)]
        try:
            yield Site(world)
        finally:
            lost = [stream.stop() for stream in streams]
        assert lost == [0, 0]
    finally:
        netns.remove("stranger")
        os.close(stranger)
        world.close()


def _lift_limits(world: World) -> None:
    """Turn off the rate limits of ICMP errors, so that earlier errors do not suppress later ones."""
    for host in world.hosts.values():
        fd = netns.find(host.overlay)
        with netns.inside(fd):
            for limit in ("ipv4/icmp_ratelimit", "ipv6/icmp/ratelimit"):
                Path("/proc/sys/net", limit).write_text("0")
        os.close(fd)


def _cable_stranger(stranger: int) -> None:
    spine = netns.find("spine")
    with netns.inside(spine), IPRoute() as ipr:
        ipr.link("add", ifname="to-stranger", kind="veth", peer={"ifname": "eth0", "net_ns_fd": "stranger"})
        index = ipr.link_lookup(ifname="to-stranger")[0]
        ipr.addr("add", index=index, address="198.51.100.1", prefixlen=24)
        ipr.link("set", index=index, state="up")
    os.close(spine)
    with netns.inside(stranger), IPRoute() as ipr:
        index = ipr.link_lookup(ifname="eth0")[0]
        ipr.addr("add", index=index, address=STRANGER, prefixlen=24)
        ipr.link("set", index=index, state="up")
        ipr.route("add", dst="default", gateway="198.51.100.1")
