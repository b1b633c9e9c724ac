"""The properties that every kind of object must have."""

from __future__ import annotations

import gc

import pytest

from netorch.model.services.dhcp_options import DEFAULT_OPTIONS
from netorch.state.base import BORDER_SLICE, HOST_SLICE, OUTSIDE, OVERLAY, UNDERLAY, KernelObject
from netorch.state.daemons.bgp import Announcement, BgpPeer, CustomerPeer
from netorch.state.daemons.services.dhcp import DhcpEar, DhcpLease
from netorch.state.daemons.services.metadata import InstanceMetadata, MetadataListener
from netorch.state.daemons.services.names import NameListener, NameRecord, NameView, NameZone
from netorch.state.daemons.services.proxy import ProxyBucket, ProxyEndpoint, ProxyListener
from netorch.state.daemons.services.relay import RelayListener, RelayTargets
from netorch.state.foreign import Foreign, ForeignTable
from netorch.state.link import AdminUp, CableEnd, IncompleteLink, Settings, Uplink
from netorch.state.netns import Namespace
from netorch.state.rooted import Vlan, Xfrm
from netorch.state.tc import INGRESS, StrangeFilter
from tests.contract.kernel.stands import VPC
from tests.unit.drivers.charon.connections import PLAIN

CUSTOMER_PEER = CustomerPeer(
    vni=5000,
    name="vpn_00138800000000001_1",
    ifname="x-0013880000001",
    vrf="vrf5000",
    table=5000,
    metric=3000,
    local="169.254.10.1",
    local_asn=64512,
    remote="169.254.10.2",
    remote_asn=65001,
    announces=("10.0.0.0/16",),
    refuses=("10.0.0.0/16",),
    limit=100,
)
METADATA = InstanceMetadata(
    vni=5000,
    id="i-00138800000000001",
    places=(("vrf5000", "10.0.0.5"),),
    enabled=True,
    needs_token=True,
    hop_limit=1,
    tree=(("meta-data/mac", "02:00:00:00:00:05"),),
)
LEASE = DhcpLease(
    vni=5000,
    ifname="v-0013880000001",
    vrf="vrf5000",
    mac="02:00:00:00:00:05",
    address="10.0.0.5",
    length=24,
    router="10.0.0.1",
    mtu=1500,
    hostname="ip-10-0-0-5",
    near=("169.254.169.254",),
    options=DEFAULT_OPTIONS,
)
OBJECTS: tuple[KernelObject, ...] = (
    *VPC,
    Settings(vni=5000, ifname="vx5000"),
    IncompleteLink(vni=5000, ifname="vx5000"),
    Foreign(what="rule pref 500 lookup 77"),
    ForeignTable(what="nft table inet mine"),
    Namespace(label=OUTSIDE),
    Uplink(ifname="eth2"),
    BgpPeer(local="198.51.100.21", local_asn=64601, remote="198.51.100.254", remote_asn=64512),
    Announcement(prefix="203.0.113.0/24"),
    CUSTOMER_PEER,
    PLAIN,
    NameView(vni=5000, ranges=("10.0.0.0/16",)),
    NameZone(vni=5000, origin="corp.example"),
    NameRecord(vni=5000, name="db.corp.example", type="A", ttl=60, values=("10.0.0.5",)),
    DhcpEar(),
    LEASE,
    MetadataListener(vni=5000, ifname="vrf5000"),
    METADATA,
    NameListener(vni=5000, ifname="vrf5000", addresses=("10.0.0.2", "169.254.169.253")),
    ProxyListener(vni=5000, ifname="vrf5000.234", endpoint="vpce-0013880000000000a"),
    ProxyEndpoint(
        vni=5000,
        id="vpce-0013880000000000a",
        vpc="vpc-0013880000000000b",
        service="s3",
        hosts=("s3.netorch.internal",),
        prefixes=("198.19.0.0/24",),
        upstream="http://192.0.2.80:9000",
    ),
    ProxyBucket(service="s3", bucket="xxx", policy="{}"),
    RelayListener(vni=5000, connection="vpce-con-0013880000000000a", ifname="eth0", ports=(443,)),
    RelayTargets(
        vni=5000,
        connection="vpce-con-0013880000000000a",
        endpoint="vpce-0013880000000000a",
        ifname="eth1",
        targets=((443, (("10.0.1.5", 8443),)),),
    ),
    Xfrm(vni=5000, ifname="x-0013880000001", if_id=1, mtu=1446, vrf="vrf5000"),
    Vlan(vni=5000, ifname="d-0013880000001", lower="dx0", vlan=101, mtu=1500, vrf="vrf5000"),
    StrangeFilter(vni=5000, ifname="vx5000", hook=INGRESS, pref=1, handle=1, what="bpf"),
)


def kinds(cls: type[KernelObject]) -> set[type[KernelObject]]:
    """Return the classes without subclasses below a class."""
    found = set().union(*(kinds(sub) for sub in cls.__subclasses__()))
    return found or {cls}


def test_every_kind_is_among_the_examples() -> None:
    ours = {cls for cls in kinds(KernelObject) if cls.__module__.startswith("netorch.")}
    assert {cls.__name__ for cls in ours - {type(obj) for obj in OBJECTS}} == set()


@pytest.mark.parametrize("obj", OBJECTS, ids=lambda obj: "-".join(map(str, obj.key[:3])))
def test_an_object_says_what_it_is(obj: KernelObject) -> None:
    assert obj.key[:2] == (obj.kind, obj.netns)
    assert obj.netns in (UNDERLAY, OVERLAY, OUTSIDE)
    assert obj.vni in (HOST_SLICE, BORDER_SLICE, 5000)
    assert obj.text()
    assert "\n" not in obj.text()
    assert obj.matches(obj)
    if obj.ours:
        assert obj.order > 0


@pytest.mark.parametrize("obj", OBJECTS, ids=lambda obj: "-".join(map(str, obj.key[:3])))
def test_the_garbage_collector_leaves_objects_alone(obj: KernelObject) -> None:
    """A host has some 100,000 objects, none in a cycle; the collector's scans took a quarter of a start."""
    assert not gc.is_tracked(obj)


@pytest.mark.parametrize("obj", VPC, ids=lambda obj: "-".join(map(str, obj.key[:3])))
def test_a_parent_comes_first_and_knows_that_it_is_one(obj: KernelObject) -> None:
    by_key = {each.key: each for each in VPC}
    if obj.parent is not None:
        parent = by_key[obj.parent]
        assert parent.has_children
        assert parent.order < obj.order
        assert obj.dies_with_parent or obj.orphan is not None
    if obj.is_up_state:
        assert isinstance(obj, AdminUp)


@pytest.mark.parametrize("obj", [obj for obj in VPC if obj.needs is not None], ids=lambda obj: "-".join(map(str, obj.key[:3])))
def test_what_something_needs_knows_that_it_has_children(obj: KernelObject) -> None:
    needed = {each.key: each for each in VPC}[obj.needs or ()]
    assert needed.has_children, "or nobody would see what goes with it"
    assert not isinstance(obj, CableEnd) or needed.needs == obj.key
