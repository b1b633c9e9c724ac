"""Network ACLs consider the subnet that a packet comes from, not its source address."""

from __future__ import annotations

import os

import pytest

from tests.rig.appliance import address, cloud
from tests.rig.crafted import framed
from tests.rig.packets import PATIENCE_S, PacketListener, send_frame, udp
from tests.rig.world import World, wait_for

pytestmark = pytest.mark.root

# Packets that subnet b accepts: all from a and fw, and with a source in its own range only those that `allowed` says.
ENTRIES = ("10.44.1.0/24", "10.44.9.0/24", "fd00:44:0:101::/64", "fd00:44:0:109::/64")
OWN = ("10.44.2.0/24", "fd00:44:0:102::/64")


def bordered(*allowed: str, through: str) -> str:
    """Return the cloud with an ACL at the border of b, and one appliance without source/destination check."""
    rows = [f"{{rule: {n}, action: allow, protocol: all, cidr: '{cidr}'}}" for n, cidr in enumerate((*ENTRIES, *allowed), 1)]
    out = "[{rule: 1, action: allow, protocol: all, cidr: 0.0.0.0/0}, {rule: 2, action: allow, protocol: all, cidr: '::/0'}]"
    acl = f"\n  network_acls: [{{name: border, ingress: [{', '.join(rows)}], egress: {out}}}]\n  subnets:"
    text = cloud(through, check=False).replace("\n  subnets:", acl)
    return text.replace("route_table: b}", "route_table: b, network_acl: border}")


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(("forwarder", "host"), [("fw1", "hv1"), ("fw2", "hv2"), ("fw3", "hv3")])
def test_an_appliance_elsewhere_does_not_pass_a_border_in_the_name_of_somebody_inside(
    world: World, forwarder: str, host: str, version: int
) -> None:
    """From the receiver's host, from the host of the instance whose address is used, and from a third host."""
    world.start_agents()
    world.apply(bordered(through=forwarder))
    world.settle()
    eni, name = world.eni(f"acme/{forwarder}"), address(world, "b2", version)
    with PacketListener(world.instance("acme/b1").id) as listener:
        before = world.counters(host)["acl_ingress"]
        send_frame(eni.instance, "eth0", framed(eni.mac, udp(name, address(world, "b1", version), forged := token())))
        wait_for(lambda: world.counters(host)["acl_ingress"] == before + 1, "the drop to be counted")
        inside = world.eni("acme/b2")
        send_frame(inside.instance, "eth0", framed(inside.mac, udp(name, address(world, "b1", version), honest := token())))
        assert listener.hears(honest, within_s=PATIENCE_S)
        world.apply(bordered(*OWN, through=forwarder))
        world.settle()
        send_frame(eni.instance, "eth0", framed(eni.mac, udp(name, address(world, "b1", version), permitted := token())))
        assert listener.hears(permitted, within_s=PATIENCE_S)
        assert not listener.heard(forged)


def token() -> bytes:
    return b"token " + os.urandom(8)
