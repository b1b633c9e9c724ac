"""Which connections a VPC's flowtable forwards, so that their packets meet no rule any more.

A flow is offloaded in both directions at once, by one packet of either. So that packet must show that neither half of this
host would drop an answer. It does so if at each end on this host

  the end lets both directions pass   it tracks the connection: then it passes in both directions, whatever the rules say (EC2
                                      lets a tracked connection outlive its rule). Or its rules permit the connection without
                                      tracking: then they permit the answers, too (policy.groups)
  the subnet's ACL does, too          the packet has passed one direction; `answers-...` looks the answer up in the other one
  Linux finds the way back            Linux looks for it in the VRF of the packet, i.e. that of the sender's port. From another
                                      host, answers arrive in the VPC's first VRF, and every VRF leads to its own ports. Between
                                      two ports of this host, both must be in the first VRF
  the packet is in the own name       it comes from the port's own addresses
  it passes this host once            between two ports of this host by way of an appliance it passes twice: a RST would end the
                                      connection the first time, and Linux would then not know it the second time. So no packet
                                      within a VPC adds a flow on its way to an appliance

and if it leaves a port of this host. The source of a packet from another host may be an address of this host, in whose name an
interface without source/destination check sends: the flow would be that interface's, which has not agreed.

The packet's mark says whether both ends agree so far. A border that does not agree sets SLOW at the sender's end, and takes back
the sender's AGREED at the receiver's. The chains `flow-<vni>-...` add flows: a packet that leaves by the VPC's own VXLAN device
if the sender's end agrees, a packet between two ends on this host if both do.

Only TCP and UDP, once conntrack has seen both directions (`assured`): Linux gives back the timeout of no other protocol. Each
SYN is judged (policy.tables.offload).

What flows rest on is in the flowtable's name: the MTU, the ACLs of subnets, what ports' groups permit without tracking. When it
changes, the VPC has another flowtable, which is empty. Its devices leave the old one before rules change, and rules change
before anything adds a flow to the new one (netorch.drivers.nft.transactions). So no flow outlives its reasons, and no other VPC
pays. Linux itself gives up the flows of a device that goes down, of a connection that is deleted, and those whose route
changed.

Rules are other parts of the compiler, and a part that cannot be compiled keeps its last result: rules that the flowtable's name
does not stand for. So a VPC has a flowtable only while all of them compile from the same view. Without one, its packets are slow.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from functools import partial
from hashlib import blake2b
from typing import Final

from netorch.compiler.base import HostView, LocalEni, LocalTable, Middlebox, Phase, VpcPart, VpcView
from netorch.model.eni import Role
from netorch.model.ids import port_name
from netorch.model.routing.next_hop import TARGET_HOPS
from netorch.model.security import Direction, NetworkAcl, PrefixList, SecurityGroup
from netorch.model.vpc import Subnet, Vpc
from netorch.state.base import KernelObject
from netorch.state.link import VXLAN_GROUP
from netorch.state.names import flow_name
from netorch.state.nft import FLOW_ADD, Flowtable, FlowtableDevice, NftChain
from policy.acl import acl_of, allows_everything
from policy.groups import GroupRules, untracked
from policy.skeleton import AGREED, BEGINS
from policy.tables.offload import PORT_GUARD, VXLAN_GUARD

ASSURED: Final = "ct status & 0x4 != 0x0"
# TCP and UDP, with one comparison. Linux looks at the protocol of the connection, not of the packet, and an ICMP error belongs to
# the connection that it quotes: where an ACL permits ICMP, an error would offload a connection that the ACL denies.
# Source: nft_flow_offload_eval, nf_conntrack_inet_error
OFFLOADABLE: Final = "meta l4proto 6-17"
# Ports of a VPC on a host. Linux dumps a flowtable with all its devices in one message; if there are more than some 1,600, it
# omits this flowtable and all those after it, also other VPCs', without an error. Source: nf_tables_dump_flowtable
MOST_PORTS: Final = 1_000


def agrees(view: VpcView, subnet: Subnet, direction: Direction) -> bool:
    """Return whether packets that a subnet's interfaces send or receive may add flows."""
    return direction is Direction.EGRESS or view.vrf_of(subnet) == view.vrf


def asks(view: VpcView, subnet: Subnet, direction: Direction) -> bool:
    """Return whether such packets add flows only if the subnet's ACL allows their answers. Raises CompileError."""
    return agrees(view, subnet, direction) and not allows_everything(acl_of(view, subnet), direction.other)


def known_chain(vni: int, direction: Direction) -> str:
    """Return the name of the chain for packets of connections that an end tracks, and that may be offloaded."""
    return flow_name(vni, "known", direction.value)


def free_chain(vni: int, direction: Direction) -> str:
    """Return the name of the chain for packets that an end permits without tracking their connection."""
    return flow_name(vni, "free", direction.value)


def offload_part(*judges: VpcPart) -> VpcPart:
    """Return the part for flowtables. `judges` are the parts for the rules that flows rest on; they are compiled before it.

    It has their inputs, too: so it is compiled again whenever one of them may begin or cease to fail.
    """
    own = {HostView, Vpc, LocalEni, LocalTable, Middlebox, NetworkAcl, SecurityGroup, PrefixList}
    inputs = frozenset(own.union(*(judge.inputs for judge in judges)))
    return VpcPart(
        id="chains.offload",
        compile=partial(_offload, frozenset(judge.id for judge in judges)),
        inputs=inputs,
        role=Role.HYPERVISOR,
        otherwise=_without,
    )


def _offload(judges: Set[str], view: VpcView) -> Iterator[KernelObject]:
    """Yield the VPC's flowtable, the chains that add flows, and the devices; the chains alone where nothing may be offloaded.

    Raises CompileError.
    """
    if len(view.local) > MOST_PORTS or not judges.isdisjoint(view.failed):
        yield from _without(view)
        return
    if not view.local:
        return
    name = f"flows-{view.vni:06x}-{blake2b(_reasons(view).encode(), digest_size=8).hexdigest()}"
    for direction in Direction:
        yield from _chains(view, direction, name)
    flowtable = Flowtable(vni=view.vni, name=name)
    yield flowtable
    yield FlowtableDevice(vni=view.vni, ifname=view.vxlan, flowtable=flowtable.name, guard=VXLAN_GUARD)
    for item in view.local:
        if item.phase is not Phase.INCOMING:
            yield FlowtableDevice(vni=view.vni, ifname=port_name(item.eni.id), flowtable=flowtable.name, guard=PORT_GUARD)


def _without(view: VpcView) -> Iterator[KernelObject]:
    """Yield chains that add no flows."""
    for direction in Direction if view.local else ():
        yield from _chains(view, direction, "")


def _reasons(view: VpcView) -> str:
    """Return what flows rest on. Raises CompileError.

    Ports count by their groups. A port that gets other groups gets another chain, and then the plan empties the flowtable
    (NftElement.ends_flows). A port that comes has no flows yet; those of one that goes have gone with its device.
    """
    subnets = {item.subnet.id: item.subnet for item in view.local}
    acls = [(subnet, acl_of(view, subnet)) for _, subnet in sorted(subnets.items())]
    borders = [(of.id, of.cidr, of.ipv6_cidr, view.vrf_of(of), acl.ingress, acl.egress) for of, acl in acls]
    rules = GroupRules(view.of(SecurityGroup), view.of(PrefixList), {})
    free = {groups: untracked(rules, groups) for groups in {item.eni.groups for item in view.local}}
    return repr((view.mtu, borders, sorted((groups, found) for groups, found in free.items() if any(found))))


def _chains(view: VpcView, direction: Direction, flowtable: str) -> Iterator[NftChain]:
    """Yield the chains for packets that an end passes in one direction. A rule ends where its flow cannot be added.

    Without a flowtable (an empty name), they add none.
    """
    sends = direction is Direction.EGRESS
    # What most packets lack comes first: an assured connection, or a sender on this host who agrees.
    ready = f"{ASSURED} meta mark 0x0" if sends else f"meta mark {AGREED} {ASSURED}"
    way = f"oifname {view.vxlan}" if sends else f"iifname {view.vrf}"
    adding = [f"{ready} {OFFLOADABLE} {way} {FLOW_ADD} @{flowtable}"] if flowtable else []
    around = [f"{match} goto agreed" for match in _around(view)] if sends else []
    # `agreed` accepts these packets, too; nearly all are spared the way there.
    passing = (f"meta mark 0x0 oifgroup {VXLAN_GROUP:#x} accept", "goto agreed") if sends else ("accept",)
    yield NftChain(vni=view.vni, name=known_chain(view.vni, direction), rules=(f"{BEGINS} return", *around, *adding, *passing))
    last = "goto freely_sent" if sends else "goto freely_received"
    around = [f"{ASSURED} {rule}" for rule in around]
    passed = (f"{ASSURED} goto agreed",) if sends else ()
    rules = (f"{BEGINS} {last}", *around, *adding, *passed, last)
    yield NftChain(vni=view.vni, name=free_chain(view.vni, direction), rules=rules)


def _around(view: VpcView) -> Iterator[str]:
    """Yield the matches of packets within the VPC on their way to an appliance."""
    if not view.of(Middlebox):
        return
    for version, word, cidrs in ((4, "ip", view.vpc.cidrs), (6, "ip6", view.vpc.ipv6_cidrs)):
        for cidr in cidrs:
            yield f"{word} daddr {cidr} rt {word} nexthop {TARGET_HOPS[version]}"
