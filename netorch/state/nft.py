"""nftables: whole tables (host-wide skeletons, as text), and each VPC's elements of sets and maps, and chains."""

from __future__ import annotations

import hashlib
from typing import ClassVar, Final

import msgspec

from netorch.model.drop_reason import SUPPRESSED
from netorch.state.base import HOST_SLICE, OVERLAY, KernelObject, Key, OnDevice
from netorch.state.foreign import ForeignTable
from netorch.state.names import BORDER, FLOW, INLET, is_in_flowtable_name, ports_of_border, vni_of_chain
from netorch.state.order import Order
from netorch.state.tc import VERIFIED

VPC_TABLE: Final[Key] = ("nft-table", OVERLAY, "inet")  # with the chains and sets of VPCs
FLOW_ADD: Final = "flow add"  # the words of a rule that adds one
PORT_POLICIES: Final = {"egress": "egress_policy", "ingress": "ingress_policy"}  # maps from ports to chains, by direction
ZONES: Final = "zone"  # the map from VRFs and VXLAN devices to conntrack zones
# The set of zones that cannot open new connections. Its elements expire, so it is not part of the wanted state.
OVER_ALLOWANCE: Final = "over_allowance"
HANDING_OVER: Final = "handing_over"  # likewise, in a gateway's table, while its connections move to another edge
READY: Final = "ready"  # the set with the host's own VTEP while the host, an edge, is ready to forward packets
ACTIVE: Final = "active"  # the set with the host's own VTEP while its seats of stateful gateways are active
ROUTERS: Final = "routers"  # the set of the router that may speak BGP and BFD to an edge
IKE: Final = "ike"  # the set with the uplink's device and the edge's own address there, which negotiates tunnels
UPSTREAMS: Final = "upstreams"  # the set of the servers behind gateway services, which an edge's proxy connects to
HOST_SETS: Final = frozenset({READY, ACTIVE, ROUTERS, IKE, UPSTREAMS})  # their elements are objects, but of no VPC

# ICMP identifiers of probes: that of a request, and its replacement by a ready host's table before the kernel answers.
PROBE_ID: Final = 0x4E50
READY_ID: Final = 0x4E52
ACTIVE_ID: Final = 0x4E53  # of a host that is active, too

# NFLOG groups for logged packets, with one listener each. Unlikely to be used elsewhere: "NT" and the next numbers.
FLOW_LOG_GROUP: Final = 0x4E54  # the agent's
LIVE_GROUP: Final = 0x4E55  # of `netorch flows`
DHCP_GROUP: Final = 0x4E56  # of netorch.services: requests of DHCP clients
DROPPED_ESTABLISHED: Final = 0x1  # the mark of a logged packet of an established connection
DROPPED_REPLY: Final = 0x2  # in addition, in a gateway's namespace: of the reply direction

# The declaration of a flowtable. Its hook follows the chains of ports and the guards (netorch.drivers.nft.chains). It counts the
# packets that it forwards for their connections.
FLOWTABLE_SPEC: Final = "hook ingress priority -490; counter"

VERIFIED_TEXT: Final = f"{VERIFIED >> 16:x}:{VERIFIED & 0xFFFF:x}"  # the priority in nft(8) syntax


class NftTable(KernelObject, frozen=True, kw_only=True):
    """A table named `netorch`: its sets, maps, counters, chains and rules, without elements.

    `body` is the text between the braces. A changed body replaces the table with all its contents in one transaction
    (`Reload`). A kernel does not store the text: a dump has the body's `digest` instead, or nothing if the table was altered.
    """

    kind: ClassVar[str] = "nft-table"
    in_place: ClassVar[bool] = True
    has_children: ClassVar[bool] = True
    is_reloaded: ClassVar[bool] = True
    order: ClassVar[int] = Order.NFT_TABLE

    family: str  # ip, inet, arp, netdev
    body: str

    @property
    def digest(self) -> str:
        """Return the digest that represents the body in a kernel."""
        return hashlib.sha256(self.body.encode()).hexdigest()[:32]

    def matches(self, actual: KernelObject) -> bool:
        return isinstance(actual, NftTable) and actual.body in (self.body, self.digest)

    @property
    def key(self) -> Key:
        return ("nft-table", self.netns, self.family)

    def text(self) -> str:
        return f"nft table {self.family} netorch in {self.netns} ({len(self.body.splitlines())} lines)"


class PortChain(OnDevice, frozen=True, kw_only=True):
    """A chain at the ingress of one port: it filters packets of the instance before the kernel processes them.

    It is in the overlay's netdev table, has the device's name, and is deleted with the device. Its policy is drop. The
    rules are in the syntax of `nft list` without quotes and leading zeros, as a dump returns them.
    """

    kind: ClassVar[str] = "nft-chain"
    in_place: ClassVar[bool] = True
    order: ClassVar[int] = Order.NFT_CHAIN

    rules: tuple[str, ...]

    @property
    def key(self) -> Key:
        return ("nft-chain", self.netns, self.ifname)

    @property
    def within(self) -> Key:
        return ("nft-table", self.netns, "netdev")

    def text(self) -> str:
        return f"nft chain netdev {self.ifname} {{ {'; '.join(self.rules)} }}"


class NftMap(KernelObject, frozen=True, kw_only=True):
    """An empty set or map of one VPC in the overlay's inet table. Its elements are separate objects."""

    kind: ClassVar[str] = "nft-set"
    has_children: ClassVar[bool] = True
    order: ClassVar[int] = Order.NFT_SET

    name: str  # includes the VNI, see netorch.state.names
    spec: str  # the output of `nft list` without elements, lines joined by "; ", e.g. "type ipv4_addr : mark"

    @property
    def key(self) -> Key:
        return ("nft-set", self.netns, self.name)

    @property
    def parent(self) -> Key | None:
        return VPC_TABLE

    @property
    def within(self) -> Key:
        return VPC_TABLE

    def text(self) -> str:
        return f"nft {'map' if ' : ' in self.spec else 'set'} inet {self.name} {{ {self.spec} }}"


class ChainSet(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A set that only one chain reads, with all its elements."""

    name: str  # starts with the chain's name
    spec: str  # as NftMap's, e.g. "type ipv4_addr . inet_service . inet_proto; flags interval"
    elements: tuple[str, ...]  # sorted; in the syntax of `nft -n list`, e.g. "10.0.0.0/8 . 80-443 . 6"


class NftChain(KernelObject, frozen=True, kw_only=True):
    """A chain of one VPC in a shared table, with the sets that only it reads.

    Such sets exist in the overlay's inet table only.

    Chain and sets are one object, so that a change of rules is one change in place: no packet sees a partial change. A
    change that keeps `rules` and only adds elements, or only deletes some, costs no more than these elements.
    """

    kind: ClassVar[str] = "nft-rules"
    in_place: ClassVar[bool] = True
    judges: ClassVar[bool] = True

    family: str = str(VPC_TABLE[2])
    name: str  # includes the VNI, see netorch.state.names
    rules: tuple[str, ...]  # in the syntax of `nft -n list` without quotes and leading zeros, as PortChain's
    sets: tuple[ChainSet, ...] = ()  # by name

    @property
    def key(self) -> Key:
        return ("nft-rules", self.netns, self.name)

    @property
    def parent(self) -> Key | None:
        return ("nft-table", self.netns, self.family)

    @property
    def within(self) -> Key:
        return ("nft-table", self.netns, self.family)

    @property
    def needs(self) -> Key | None:
        """Return the key of the flowtable that it adds flows to. Another program may let any chain do so."""
        added = next((rule for rule in self.rules if FLOW_ADD in rule), "")
        return ("nft-flowtable", self.netns, added.partition(f"{FLOW_ADD} @")[2].partition(" ")[0]) if added else None

    @property
    def freed(self) -> NftChain:
        """Return the chain *paused*: it adds no flows."""
        return msgspec.structs.replace(self, rules=tuple(rule for rule in self.rules if FLOW_ADD not in rule))

    @property
    def order(self) -> int:
        if self.name.startswith(FLOW):
            return Order.NFT_FLOWS
        return Order.NFT_BORDER if self.name.startswith(BORDER) else Order.NFT_RULES

    @property
    def is_blank(self) -> bool:
        """Return whether there are no rules: an agent that ends before it creates the chain leaves its sets behind."""
        return not self.rules

    def ends_flows(self, actual: KernelObject | None, *, in_doubt: bool) -> bool:
        """Return whether flows may have lost their reasons. Records change some chains only with the name of the flowtable."""
        named = actual is not None and is_in_flowtable_name(self.name)
        return (in_doubt or named) and not (actual is not None and self.matches(actual))

    def order_of_change(self, actual: KernelObject) -> int:
        """Return the place of elements: a class that gets other members or peers is one change of chains and of elements.

        A blank chain counts as missing: other objects may wait for it.
        """
        return self.order if isinstance(actual, NftChain) and actual.is_blank else Order.NFT_ELEMENT

    def text(self) -> str:
        sets = "".join(f" @{held.name} {{ {', '.join(held.elements)} }}" for held in self.sets)
        return f"nft chain {self.family} {self.name} {{ {'; '.join(self.rules)} }}{sets}"


class Flowtable(KernelObject, frozen=True, kw_only=True):
    """A table of flows in the overlay's inet table: it forwards packets of established connections without judging them.

    Rules add flows to it. It handles packets that arrive by its devices, which are separate objects. The kernel changes neither
    the hook nor the flags of a flowtable, and does not delete one that a rule refers to.
    """

    kind: ClassVar[str] = "nft-flowtable"
    holds_flows: ClassVar[bool] = True
    has_children: ClassVar[bool] = True
    order: ClassVar[int] = Order.NFT_SET

    name: str
    spec: str = FLOWTABLE_SPEC  # the output of `nft list` without devices, lines joined by "; "

    @property
    def key(self) -> Key:
        return ("nft-flowtable", self.netns, self.name)

    @property
    def parent(self) -> Key | None:
        return VPC_TABLE

    @property
    def within(self) -> Key:
        return VPC_TABLE

    def text(self) -> str:
        return f"nft flowtable inet {self.name} {{ {self.spec} }}"


class FlowtableDevice(OnDevice, frozen=True, kw_only=True):
    """A device whose packets a flowtable forwards. It can be in one flowtable, and leaves it when it is deleted.

    The device has a *guard*: a chain of the overlay's inet table at its ingress, before the flowtable, with policy drop. It
    decides what reaches the flowtable. Device and guard are one object, so that no device is in a flowtable without its guard.
    """

    kind: ClassVar[str] = "nft-flowtable-device"
    judges: ClassVar[bool] = True  # its guard does
    goes_first: ClassVar[bool] = True  # from then on rules judge the device's packets: a flowtable asks none
    order: ClassVar[int] = Order.FLOWTABLE_DEVICE

    flowtable: str  # its name
    guard: tuple[str, ...]  # its rules, as PortChain's; in a dump: empty without a guard, `?` for one at another hook

    @property
    def key(self) -> Key:
        return ("nft-flowtable-device", self.netns, self.ifname)

    @property
    def within(self) -> Key:
        return VPC_TABLE

    def ends_flows(self, actual: KernelObject | None, *, in_doubt: bool) -> bool:
        """Return whether flows may have lost their reasons: the device may have left because the flowtable was to be emptied."""
        return in_doubt and actual is None

    @property
    def needs(self) -> Key | None:
        return ("nft-flowtable", self.netns, self.flowtable)

    def text(self) -> str:
        return f"nft flowtable inet {self.flowtable} {{ devices = {{ {self.ifname} }} }} behind {{ {'; '.join(self.guard)} }}"


class NftElement(KernelObject, frozen=True, kw_only=True):
    """An element of a set, or of a map if it has a `value`.

    `items` are the parts of the (concatenated) key in nft syntax: names, addresses, MACs; numbers in hexadecimal. The
    key of every element includes the VNI, see `netorch.state.names.vni_of_element`.
    """

    kind: ClassVar[str] = "nft-element"
    in_place: ClassVar[bool] = True
    judges: ClassVar[bool] = True
    order: ClassVar[int] = Order.NFT_ELEMENT

    family: str
    set: str
    items: tuple[str, ...]
    value: str = ""

    @property
    def key(self) -> Key:
        return ("nft-element", self.netns, self.family, self.set, *self.items)

    def ends_flows(self, actual: KernelObject | None, *, in_doubt: bool) -> bool:
        """Return whether flows may have lost their reasons: another program may have led a port's packets to another chain.

        A port that gets other groups gets another chain, too, and what its groups permit without tracking ends. In doubt, a port
        that has been led to no chain may have had other groups before. Whether it sends in others' names does not matter: such
        packets add no flows.
        """
        leads = self.set in PORT_POLICIES.values()
        if not isinstance(actual, NftElement):
            return in_doubt and leads
        led_elsewhere = leads and ports_of_border(self.value) != ports_of_border(actual.value)
        return led_elsewhere or (in_doubt and not self.matches(actual))

    @property
    def parent(self) -> Key | None:
        own = vni_of_chain(self.set) != HOST_SLICE and (self.netns, self.family) == VPC_TABLE[1:]
        return ("nft-set", self.netns, self.set) if own else ("nft-table", self.netns, self.family)

    @property
    def within(self) -> Key:
        return ("nft-table", self.netns, self.family)

    @property
    def says_ready(self) -> bool:
        return self.set == READY

    @property
    def says_active(self) -> bool:
        return self.set == ACTIVE

    def text(self) -> str:
        value = f" : {self.value}" if self.value else ""
        return f"nft element {self.family} {self.set} {{ {' . '.join(self.items)}{value} }} in {self.netns}"


def freed_zone(obj: KernelObject) -> int:
    """Return the conntrack zone that this object's deletion frees: that of a VXLAN device or inlet; 0 for others."""
    if isinstance(obj, NftElement) and obj.set == ZONES and obj.items[0].startswith(("vx", INLET)):
        return int(obj.value, 0)
    return 0


NFT_KINDS: Final = frozenset(
    of.kind for of in (NftTable, PortChain, NftMap, NftChain, NftElement, Flowtable, FlowtableDevice, ForeignTable)
)


# --- how a packet is dropped: logged to listeners at a limited rate, counted by reason ---------------------------------------

_LOGGED_BYTES: Final = 128  # room for all headers, those of a VXLAN packet and of its inner packet
_LOGGED: Final = "limit rate 2000/second burst 500 packets"  # for packets of no VPC, for one reason
# For all reasons together. In `forward` the device is a VPC's VRF, before that a port or a VPC's VXLAN device. A zone
# cannot replace it: the kernel has no zone before the conntrack lookup, and none for packets of no connection.
_LOGGED_OF_VPC: Final = "update @logged { iif limit rate 400/second burst 400 packets }"
_SUPPRESSED_SAMPLE: Final = "update @suppressed { iif limit rate 1/second burst 1 packets }"


def _log(prefix: str, *groups: int) -> str:
    return " ".join(f'log prefix "{prefix}" group {group} snaplen {_LOGGED_BYTES}' for group in groups)


# State of the chains below, by input device.
VPC_DROP_SETS: Final = """set logged {
    typeof iif
    size 65535
    flags dynamic,timeout
    timeout 10s
    gc-interval 10s
}
set suppressed {
    typeof iif
    size 65535
    flags dynamic,timeout
    timeout 10s
    gc-interval 10s
}"""


def drop_chain(reason: str) -> str:
    """Return the chain that logs, counts and drops packets for one reason before they belong to a VPC."""
    drop = f'counter name "{reason}" drop'
    return _chain(f"drop_{reason}", f"{_LOGGED} {_log(reason, FLOW_LOG_GROUP, LIVE_GROUP)} {drop}", drop)


def vpc_drop_chain(reason: str, *first: str) -> str:
    """Return the same for packets of a VPC, after the rules `first`.

    A VPC's flood is logged in part. One packet a second is logged as a sign of suppressed ones. The table needs
    VPC_DROP_SETS.
    """
    log, drop = _log(reason, FLOW_LOG_GROUP, LIVE_GROUP), f'counter name "{reason}" drop'
    return _chain(
        f"drop_{reason}",
        *first,
        f"{_LOGGED_OF_VPC} {log} {drop}",
        f'{_SUPPRESSED_SAMPLE} {_log(SUPPRESSED, FLOW_LOG_GROUP)} counter name "{SUPPRESSED}" {drop}',
        f'counter name "{SUPPRESSED}" {drop}',
    )


def _chain(name: str, *rules: str) -> str:
    return "\n    ".join((f"chain {name} {{", *rules)) + "\n}"
