"""An edge's local ends of VPN connections and virtual interfaces."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

import msgspec

from netorch.model.outside.direct_connect import VirtualInterface
from netorch.model.outside.vpn import TUNNELS, VpnConnection
from netorch.model.status import Sealed
from netorch.state.base import KernelObject
from netorch.state.daemons.ike import IkeConnection
from netorch.state.names import is_private_end, tunnel_name, vlan_name
from netorch.state.nft import NftElement

WITHOUT_TUNNEL = 0  # the number of a virtual interface's secret; tunnels have 1 and 2


class LocalTunnel(msgspec.Struct, frozen=True, kw_only=True):
    """A tunnel that ends at this host."""

    connection: VpnConnection
    place: int  # among the connection's tunnels: 0 or 1
    secret: str = ""  # sealed for this host, base64; empty: none yet
    is_up: bool = False  # whether it carries packets: both ends have agreed on keys
    invites: bool = True  # whether the site learns the VPC's ranges through it

    @property
    def name(self) -> str:
        """Return its name, e.g. vpn-00138800000000001-1."""
        return ike_name(self.connection.id, self.place)

    @property
    def static_prefixes(self) -> tuple[str, ...]:
        """Return the prefixes routed into it now by static routes."""
        return self.connection.routes if self.connection.static and self.is_up else ()


class LocalVif(msgspec.Struct, frozen=True, kw_only=True):
    """A virtual interface of a port of this host."""

    vif: VirtualInterface
    secret: str = ""  # its BGP key, sealed for this host, base64
    is_up: bool = False  # whether its port has a carrier
    invites: bool = True  # whether the site learns the VPC's ranges through it

    @property
    def static_prefixes(self) -> tuple[str, ...]:
        """Return the prefixes routed to it now by static routes."""
        return self.vif.routes if self.is_up and not self.vif.asn else ()


def ike_name(vpn_id: str, place: int) -> str:
    """Return a tunnel's IKE name: the id of its connection, a dash, 1 or 2."""
    return f"{vpn_id}-{place + 1}"


def local_tunnels(
    host: str, connections: Iterable[VpnConnection], secrets: Mapping[str, Sealed], up: Collection[str], invites: bool
) -> Iterator[LocalTunnel]:
    """Yield the tunnels that end at a host. `secrets` are those sealed for it, by id; `up` the names of tunnels that are up."""
    for connection in connections:
        boxes = secrets[connection.id].boxes if connection.id in secrets else {}
        for place, tunnel in enumerate(connection.tunnels):
            if tunnel.edge == host:
                yield LocalTunnel(
                    connection=connection,
                    place=place,
                    secret=boxes.get(place + 1, ""),
                    is_up=ike_name(connection.id, place) in up,
                    invites=invites,
                )


def local_vifs(
    host: str, vifs: Iterable[VirtualInterface], secrets: Mapping[str, Sealed], up: Collection[str], invites: bool
) -> Iterator[LocalVif]:
    """Yield the confirmed virtual interfaces of a host's ports. `up` has the ids of those whose port has a carrier."""
    for vif in vifs:
        if vif.edge == host and vif.confirmed and not vif.rejected:
            boxes = secrets[vif.id].boxes if vif.id in secrets else {}
            yield LocalVif(vif=vif, secret=boxes.get(WITHOUT_TUNNEL, ""), is_up=vif.id in up, invites=invites)


def end_of(obj: KernelObject) -> str:
    """Return the tunnel or virtual interface of an object, by its IKE connection's or device's name; or nothing."""
    if isinstance(obj, IkeConnection):
        return obj.name
    names: tuple[str, ...] = obj.items if isinstance(obj, NftElement) else (getattr(obj, "ifname", ""),)
    return next(filter(is_private_end, names), "")


def ends_of(vni: int, connections: Iterable[str], vifs: Iterable[str]) -> frozenset[str]:
    """Return all results of `end_of` for a VPC's connections and virtual interfaces, given their ids."""
    tunnels = [(vpn, place) for vpn in connections for place in range(TUNNELS)]
    names = {ike_name(vpn, place) for vpn, place in tunnels}
    devices = {tunnel_name(vni, vpn, place) for vpn, place in tunnels}
    return frozenset(names | devices | {vlan_name(vni, vif) for vif in vifs})
