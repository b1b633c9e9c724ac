"""Later packets of a connection: why rules judge them, and where flowtables forward them by only one of model and kernels."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from netorch.model.eni import Role
from netorch.records.inventory import Inventory
from netorch.state.names import is_peer_end, is_port, vni_of_ifname, vrf_name
from netorch.trace.host_model import HostModel
from netorch.trace.way import Place, RoundTrip, Walk


class Offloading(msgspec.Struct, frozen=True, kw_only=True):
    """The hosts where a flowtable forwards later packets by only one of model and kernels."""

    missing: dict[str, str] = {}  # by the model only; with the reason why the VPC is degraded there, if its agent reports that
    surplus: tuple[str, ...] = ()  # by the kernels only

    @property
    def hosts(self) -> tuple[str, ...]:
        """Return the hosts whose kernels differ from the model."""
        return (*self.missing, *self.surplus)

    @property
    def is_reported(self) -> bool:
        """Return whether packets are slower and nothing else, and each host's running agent reports the VPC as degraded."""
        return bool(self.missing) and not self.surplus and all(self.missing.values())

    @property
    def text(self) -> str:
        """Return what happens on each of these hosts; empty: there is none."""
        slower = "rules judge later packets that a flowtable should forward; the packets arrive, but more slowly"
        texts = [
            f"on {host} {slower}" + (f" (the VPC is degraded there: {reason})" if reason else "")
            for host, reason in self.missing.items()
        ]
        texts += [f"on {host} a flowtable forwards later packets that rules should judge" for host in self.surplus]
        return "; ".join(texts)


def compare_flowtables(inventory: Inventory, model: Walk | None, kernel: Walk | None) -> Offloading:
    """Return the difference between the ways of a later packet through model and kernels; None: there is no such way."""
    if model is None or kernel is None:
        return Offloading()
    offloaded = {hop.host: hop.vni for hop in model.hops if hop.place is Place.FLOWTABLE and hop.ok}
    return Offloading(
        missing={host: _degraded(inventory, host, vni) for host, vni in offloaded.items() if host not in kernel.offloaded_on},
        surplus=tuple(host for host in kernel.offloaded_on if host not in offloaded),
    )


def why_judged(
    inventory: Inventory, host_models: Mapping[str, HostModel], model: RoundTrip, unchecked: Collection[str]
) -> dict[str, str]:
    """Return the hypervisors where rules judge later packets, and why: "" if the model does not show it.

    `unchecked` has the ports of the ends without source/destination check. An ACL that permits only one direction is no reason:
    then the packet or its answer does not arrive. See policy.offload for what flowtables forward.
    """
    later = model.later
    if later is None or later.at_host:
        return {}
    hosts = dict.fromkeys(hop.host for hop in later.hops if hop.place is Place.POLICY and hop.host not in later.offloaded_on)
    here = [host for host in hosts if host in inventory.hosts and inventory.hosts[host].host.role is Role.HYPERVISOR]
    return {host: _reason(host_models[host], model, unchecked) for host in here}


def _reason(host_model: HostModel, model: RoundTrip, unchecked: Collection[str]) -> str:
    """Return why rules of one host judge the packets in both directions."""
    name = host_model.name
    hops = [hop for way in model.ways for hop in way.hops if (hop.host, hop.place) == (name, Place.POLICY)]
    devices = {ifname for hop in hops for ifname in hop.devices}
    if any(way.through for way in model.ways):
        return "an appliance is on their way"
    if any(vni_of_ifname(hop.devices[1]) != hop.vni for hop in hops) or any(map(is_peer_end, devices)):
        return "the ends are in peered VPCs"
    if not any(map(host_model.flowtable_of, devices)):
        return f"the VPC has no flowtable on {name}"
    for hop in hops:
        links = [host_model.link(ifname) for ifname in hop.devices if is_port(ifname)]
        first = vrf_name(hop.vni)
        if len(links) > 1 and any(link is None or link.vrf != first for link in links):
            return f"both ends are on {name}, and not both in the VPC's first VRF, {first}"
    return f"the end on {name} has no source/destination check" if any(ifname in unchecked for ifname in devices) else ""


def _degraded(inventory: Inventory, host: str, vni: int) -> str:
    """Return why a host's running agent reports a VPC as degraded, or "". Without an agent nothing tries again."""
    state, status = inventory.hosts.get(host), inventory.vpc_status.get((host, vni))
    return status.reason if status is not None and state is not None and state.live else ""
