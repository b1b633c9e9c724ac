"""Devices that are created in the outside namespace and used in a VPC's VRF, and a host that has what they need."""

from __future__ import annotations

from netorch.state.base import OUTSIDE, KernelObject
from netorch.state.l3 import Address, Route
from netorch.state.link import LOOPBACK, VXLAN_GROUP, AdminUp, Uplink, vrf_of
from netorch.state.names import service_vlan_name, tunnel_name, vlan_name
from netorch.state.netns import Namespace
from netorch.state.rooted import Vlan, Xfrm
from netorch.state.sysctls import namespace_sysctls
from tests.contract.kernel.stands import VNI, VRF

PORT, PORT_MTU = "port0", 9001
VPN, VIF = "vpn-001388abcdef00001", "dxvif-001388abcdef00001"
OTHER_VRF = vrf_of(VNI, 254)
UPLINK = Uplink(ifname=PORT)
SERVICE = service_vlan_name(PORT, 300)

TUNNEL = Xfrm(vni=VNI, ifname=tunnel_name(VNI, VPN, 0), if_id=0x1388001, mtu=1400, vrf=VRF.ifname, group=VXLAN_GROUP)
OTHER_TUNNEL = Xfrm(vni=VNI, ifname=tunnel_name(VNI, VPN, 1), if_id=0x1388002, mtu=1400, vrf=VRF.ifname)
VLAN = Vlan(vni=VNI, ifname=vlan_name(VNI, VIF), lower=PORT, vlan=101, mtu=1500, vrf=VRF.ifname, group=VXLAN_GROUP)
SERVICE_TAG = Vlan(netns=OUTSIDE, ifname=SERVICE, lower=PORT, vlan=300, protocol="802.1ad", mtu=0)
INNER = Vlan(vni=VNI, ifname=vlan_name(VNI, "dxvif-001388bbcdef00001"), lower=SERVICE, vlan=5, mtu=1500, vrf=VRF.ifname)
ROOTED: tuple[Xfrm | Vlan, ...] = (TUNNEL, OTHER_TUNNEL, VLAN, INNER)

HOST: tuple[KernelObject, ...] = (
    Namespace(label=OUTSIDE),
    *namespace_sysctls(OUTSIDE),
    AdminUp(netns=OUTSIDE, ifname=LOOPBACK),
    UPLINK,
    SERVICE_TAG,
    AdminUp(netns=OUTSIDE, ifname=PORT),
    AdminUp(netns=OUTSIDE, ifname=SERVICE),
)
VRFS = (VRF, AdminUp(vni=VNI, ifname=VRF.ifname), OTHER_VRF, AdminUp(vni=VNI, ifname=OTHER_VRF.ifname))


def through(device: Xfrm | Vlan, number: int) -> tuple[KernelObject, ...]:
    """Return the objects that put a device to use: its address, and a route through it in the gateway's VRF."""
    ifname = device.ifname
    return (
        Address(vni=VNI, ifname=ifname, address=f"169.254.{number}.1/30"),
        AdminUp(vni=VNI, ifname=ifname),
        Route(vni=VNI, table=OTHER_VRF.table, dst=f"192.168.{number}.0/24", ifname=ifname),
    )


WORK = tuple(obj for number, device in enumerate(ROOTED) for obj in (device, *through(device, number)))
ALL = (*HOST, *VRFS, *WORK)
