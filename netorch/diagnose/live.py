"""A live packet for a trace: sent from the source's own namespace, or from outside of an edge; and its listeners."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import msgspec

from netorch.compiler.ports import inside_name
from netorch.diagnose import sites
from netorch.diagnose.ends import End
from netorch.drivers.netns import RUN_NETNS
from netorch.drivers.probe.echo import Listener
from netorch.drivers.probe.first_packet import Ears, ProbeResult, send_probe
from netorch.drivers.probe.injected import inject
from netorch.errors import KernelError
from netorch.model.endpoints.endpoint_service import EndpointConnection
from netorch.model.eni import Attachment, Instance
from netorch.model.outside.gateway import TRACKING
from netorch.model.packet import Packet
from netorch.model.security import TCP
from netorch.state.base import OUTSIDE, OVERLAY
from netorch.state.names import is_private_end
from netorch.state.owner import netns_name
from netorch.trace.codes import OF_ENDPOINT, Code
from netorch.trace.host_model import HostModel
from netorch.trace.way import Arrival, Place, Walk

_DCCP = 33  # Source: IANA protocol numbers


class Live(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a live packet. `drops` are the counters of hosts on this machine that rose meanwhile."""

    probe: ProbeResult | None = None
    why_not: str = ""  # why none was sent
    drops: tuple[tuple[str, str], ...] = ()  # host, counter

    @property
    def arrived(self) -> bool | None:
        """Return whether it arrived; None if none was sent."""
        return self.probe.arrived if self.probe is not None else None

    @property
    def at_limit(self) -> str:
        """Return the host on which a gateway had no free port for the packet, or "". A walk does not know the ports in use."""
        return next((host for host, counter in self.drops if OF_ENDPOINT[counter] is Code.NGW_NO_FREE_PORT), "")

    @property
    def answered(self) -> bool:
        """Return whether an answer came back. A missing answer may just mean that no program responds."""
        return self.probe is not None and bool(self.probe.answer)


def live_from_instance(
    near: End, packet: Packet, way: Walk, far: End | None, host_models: dict[str, HostModel], timeout_s: float
) -> Live:
    """Send a packet from the namespace of an instance. Listeners are at the receiver, or where the packet leaves an edge."""
    instance = near.records.of(Instance)[near.eni.instance].record
    if instance.attachment is Attachment.TAP:
        return Live(why_not="the source is a virtual machine, which netorch cannot enter")
    if packet.protocol == _DCCP:
        return Live(why_not="the kernel tracks the handshake of DCCP, which the probe does not imitate")
    if way.served and packet.protocol != TCP:
        return Live(why_not="not sent: a daemon of the host answers, and only valid requests; trace a TCP port for a live probe")
    netns = instance.netns or instance.id
    if not (RUN_NETNS / netns).exists():
        return Live(why_not=f"the namespace of {instance.name} is not on this machine")
    try:
        with (
            _listening(far, host_models, way) as listeners,
            _drops(host_models, near, far) as drops,
        ):
            probe = send_probe(netns, packet, Ears(listeners, way.packet), timeout_s)
    except (KernelError, OSError) as error:
        return Live(why_not=str(error))
    return Live(probe=probe, drops=() if probe.arrived else tuple(drops))


def live_from_internet(
    start: Arrival, packet: Packet, way: Walk, far: End, host_models: dict[str, HostModel], timeout_s: float
) -> Live:
    """Send a packet from the outside of an edge. The answer is received where it leaves an edge."""
    netns = netns_name(start.host, OUTSIDE)
    if is_private_end(start.ifname):
        return Live(why_not="only the site itself can send its packets")
    if packet.version != 4:
        return Live(why_not="probes from the outside are IPv4 only")
    if not (RUN_NETNS / netns).exists():
        return Live(why_not=f"the outside of {start.host} is not on this machine")
    if not way.arrived and way.hops[-1].place in (Place.UPLINK, Place.OUTSIDE):
        return Live(why_not=f"the packet ends before the point at which probes enter {start.host}")
    try:
        with (
            _at_receiver(far) as listeners,
            _at_uplinks(host_models, way) as uplinks,
            _drops(host_models, far) as drops,
        ):
            probe = inject(netns, packet, Ears(listeners, way.packet), uplinks, timeout_s)
    except (KernelError, OSError) as error:
        return Live(why_not=str(error))
    return Live(probe=probe, drops=() if probe.arrived else tuple(drops))


@contextmanager
def _drops(host_models: dict[str, HostModel], *ends: End | None) -> Iterator[list[tuple[str, str]]]:
    """Yield a list that holds, after the block, the drop counters that rose on local hosts and gateways of the ends' VPCs."""
    records = [end.records for end in ends if end is not None]
    gateways = {gateway.id for found in records for kind in TRACKING for gateway in found.each(kind)}
    gateways |= {connection.id for found in records for connection in found.each(EndpointConnection)}
    risen: list[tuple[str, str]] = []
    before = sites.drop_counters(host_models, gateways)
    yield risen
    after = sites.drop_counters(host_models, gateways)
    risen += [key for key, count in after.items() if count > before.get(key, 0) and key[1] in OF_ENDPOINT]


@contextmanager
def _listening(far: End | None, host_models: dict[str, HostModel], way: Walk) -> Iterator[tuple[Listener, ...]]:
    """Listen where an instance's packet arrives. There is no listener if a host itself answers."""
    if way.served:
        yield ()
        return
    with _at_receiver(far) if far is not None else _at_uplinks(host_models, way) as listeners:
        yield listeners


@contextmanager
def _at_receiver(far: End | None) -> Iterator[tuple[Listener, ...]]:
    """Listen at the device of an interface, if its instance's namespace is on this machine."""
    instance = far.records.one(Instance, far.eni.instance) if far is not None else None
    netns = (instance.netns or instance.id) if instance is not None else ""
    if far is None or instance is None or instance.attachment is Attachment.TAP or not (RUN_NETNS / netns).exists():
        yield ()
        return
    listener = Listener(netns, inside_name(far.eni, instance))
    try:
        yield (listener,)
    finally:
        listener.close()


@contextmanager
def _at_uplinks(host_models: dict[str, HostModel], way: Walk) -> Iterator[tuple[Listener, ...]]:
    """Listen where a packet leaves edges on this machine: at uplinks, or at the plaintext ends of tunnels and VLANs to sites.

    Also where it leaves for a VPC that the caller does not see.
    """
    with ExitStack() as stack:
        listeners = []
        for name, found in host_models.items():
            netns = netns_name(name, OVERLAY if way.to_site or way.handed_over else OUTSIDE)
            for ifname in _ways_out(found, way) if (RUN_NETNS / netns).exists() else ():
                listeners.append(Listener(netns, ifname))
                stack.callback(listeners[-1].close)
        yield tuple(listeners)


def _ways_out(found: HostModel, way: Walk) -> set[str]:
    """Return the devices through which a packet may leave an edge."""
    if way.handed_over:
        return {way.arrived_at} if found.name == way.host else set()
    if way.to_site:
        return {ifname for ifname in found.ends if found.link(ifname) is not None}
    here = way.left and found.name == way.host
    return {found.uplink, *([way.arrived_at] if here else [])} if found.uplink else set()
