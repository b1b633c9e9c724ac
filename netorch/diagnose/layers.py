"""Tests whether an instance reaches another one, and which layer fails.

mapping   both addresses are mapped, and their hosts report the interfaces as attached
underlay  the source's host reaches the destination's, with the largest packets that VXLAN makes between the two
gateway   the source reaches its own router: its port works
overlay   the echo itself; if it fails and the destination is on this machine too, whether the request arrived
"""

from __future__ import annotations

import msgspec

from netorch.control.views.describe import resolve
from netorch.diagnose.crossing import crossing_between
from netorch.drivers.netns import RUN_NETNS
from netorch.drivers.probe.echo import Answer, Listener, Probe, ask, mtu_of
from netorch.errors import KernelError, NetorchError
from netorch.model.addr import format_ip, packed, parse_prefix
from netorch.model.eni import Attachment, EniState, Instance, NetworkInterface
from netorch.model.mapping import Mapping
from netorch.model.vpc import Subnet
from netorch.records.caller import Caller
from netorch.records.inventory import Inventory
from netorch.records.read import Stored
from netorch.records.vpc import VpcRecords

IP_AND_ICMP_BYTES = 28
VXLAN_BYTES = 50  # RFC 7348: size of the outer headers


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one layer; `advice` is the next step if it failed."""

    name: str
    ok: bool
    text: str
    advice: str = ""


class End(msgspec.Struct, frozen=True, kw_only=True):
    """One end of the path."""

    instance: Instance
    eni: NetworkInterface
    mapping: Stored[Mapping] | None
    state: EniState | None
    records: VpcRecords

    @property
    def spoken(self) -> str:
        """Return the instance's name in command-line syntax."""
        vpc = self.records.vpc.record
        return f"{vpc.owner}/{vpc.name}/{self.instance.name}"

    @property
    def netns(self) -> str:
        """Return the namespace of the instance."""
        return self.instance.netns or self.instance.id


def probe_layers(
    inventory: Inventory, caller: Caller, source: str, destination: str, *, version: int, count: int, timeout_s: float
) -> list[Layer]:
    """Return the results of the layers from the bottom up to the first that failed.

    Raises:
      ApiError: an instance does not exist.
      NetorchError: the probe cannot be sent from this machine.
    """
    near, far = _end(inventory, caller, source), _end(inventory, caller, destination)
    target = far.eni.address if version == 4 else far.eni.ipv6_address
    if not target or (version == 6 and not near.eni.ipv6_address):
        raise NetorchError(f"ping: {source} and {destination} do not both have an IPv{version} address; ping without -6")
    if near.instance.attachment is Attachment.TAP:
        raise NetorchError(f"ping: {source} is a virtual machine, which netorch cannot enter; ping from inside it instead")
    layers = [_mapping_layer(near, far, target)]
    if layers[-1].ok and near.mapping is not None and far.mapping is not None:
        layers.append(_underlay_layer(near, near.mapping.record, far.mapping.record, inventory.mtus, timeout_s))
    if layers[-1].ok:
        layers.append(_gateway_layer(near, version, timeout_s))
    if layers[-1].ok:
        layers.append(_overlay_layer(near, far, target, count, timeout_s))
    return layers


def _end(inventory: Inventory, caller: Caller, name: str) -> End:
    records, instance = resolve(inventory, caller, "i", name)
    enis = sorted(
        (s.record for s in records.of(NetworkInterface).values() if s.record.instance == instance.id), key=lambda eni: eni.address
    )
    own = next((eni for eni in enis if eni.id[-17:] == instance.id[-17:]), enis[0] if enis else None)
    if own is None:
        raise NetorchError(f"ping: {name} has no network interface; attach one that is free: netorch eni list")
    mapping = records.mappings.get(own.address)
    status = inventory.eni_status.get((mapping.record.host, own.id)) if mapping is not None else None
    return End(instance=instance, eni=own, mapping=mapping, state=status.state if status is not None else None, records=records)


def _mapping_layer(near: End, far: End, target: str) -> Layer:
    if near.records.vni != far.records.vni and crossing_between(near.records, far.records) is None:
        text = (
            f"{near.instance.name} is in VPC {near.records.vpc.record.name}, {far.instance.name} in {far.records.vpc.record.name}"
        )
        return Layer(
            name="mapping",
            ok=False,
            text=text,
            advice="VPCs are isolated from each other; these two have no active peering connection",
        )
    for end in (near, far):
        if end.mapping is None:
            text = f"{end.eni.address} of {end.instance.name} has no mapping"
            return Layer(name="mapping", ok=False, text=text, advice="the interface is not attached: netorch eni list")
        if end.state is not EniState.ATTACHED:
            said = end.state.value if end.state is not None else "nothing"
            text = f"host {end.mapping.record.host} says {said} of {end.instance.name}"
            return Layer(name="mapping", ok=False, text=text, advice="check that host: netorch status")
    assert far.mapping is not None
    record = far.mapping.record
    text = f"({record.vni}, {target}) -> {record.host} {record.vtep}, generation {far.mapping.mod_revision}"
    return Layer(name="mapping", ok=True, text=text)


def _underlay_layer(near: End, here: Mapping, there: Mapping, mtus: dict[str, int], timeout_s: float) -> Layer:
    if here.host == there.host:
        return Layer(name="underlay", ok=True, text=f"not used: both are on {here.host}")
    netns = here.host if (RUN_NETNS / here.host).exists() else ""
    said = [mtus[host] for host in (here.host, there.host) if host in mtus]
    size = min([mtu_of(near.netns, "eth0") + VXLAN_BYTES, *said])
    full = size - IP_AND_ICMP_BYTES
    plain = Probe(netns=netns, destination=there.vtep, source=here.vtep)
    sized = Probe(netns=netns, destination=there.vtep, source=here.vtep, payload_bytes=full, dont_fragment=True)
    small, large = _ask([plain, sized], timeout_s, here.host)
    text = f"{here.host} {here.vtep} -> {there.host} {there.vtep}"
    if not small.ok:
        advice = f"routing or a firewall between {here.host} and {there.host}"
        return Layer(name="underlay", ok=False, text=f"{text}: {small.error}", advice=advice)
    if not large.ok:
        advice = f"both hosts' devices have an MTU of {size} or more; raise the MTU of the network between them"
        return Layer(name="underlay", ok=False, text=f"{text}: {size} bytes do not pass: {large.error}", advice=advice)
    inside = f"{size} bytes unfragmented, an MTU of {size - VXLAN_BYTES} inside"
    return Layer(name="underlay", ok=True, text=f"{text}, {inside}, {_ms(small)}")


def _gateway_layer(near: End, version: int, timeout_s: float) -> Layer:
    subnet = near.records.of(Subnet)[near.eni.subnet].record
    prefix = parse_prefix(subnet.cidr if version == 4 else subnet.ipv6_cidr)
    gateway = format_ip(prefix.version, prefix.network + 1)
    host = near.mapping.record.host if near.mapping is not None else ""
    answer = _ask([Probe(netns=near.netns, destination=gateway)], timeout_s, near.instance.name)[0]
    text = f"{near.eni.address} -> router {gateway}"
    if answer.ok:
        return Layer(name="gateway", ok=True, text=f"{text}, {_ms(answer)}")
    return Layer(
        name="gateway", ok=False, text=f"{text}: {answer.error}", advice=f"the instance's own port: netorch drift --host {host}"
    )


def _overlay_layer(near: End, far: End, target: str, count: int, timeout_s: float) -> Layer:
    listener = Listener(far.netns, "eth0") if (RUN_NETNS / far.netns).exists() else None
    try:
        answers = [_ask([Probe(netns=near.netns, destination=target)], timeout_s, near.instance.name)[0] for _ in range(count)]
        good = [answer for answer in answers if answer.ok]
        text = f"{near.instance.name} -> {far.instance.name} {target}: {len(good)} of {count} replies"
        if len(good) == count:
            return Layer(name="overlay", ok=True, text=f"{text}, {_ms(min(good, key=lambda a: a.rtt_s or 0.0))}")
        errors = sorted({answer.error for answer in answers if not answer.ok})
        arrived = listener is not None and listener.heard(packed(target))
    finally:
        if listener is not None:
            listener.close()
    where = "the request arrived, the reply did not" if arrived else "the request did not arrive"
    advice = f"{where}; to find out why: netorch trace {near.spoken} {target}"
    return Layer(name="overlay", ok=False, text=f"{text}: {', '.join(errors)}", advice=advice)


def _ask(probes: list[Probe], timeout_s: float, where: str) -> list[Answer]:
    try:
        return ask(probes, timeout_s, tries=2)
    except (KernelError, OSError) as error:
        raise NetorchError(
            f"ping: cannot send from {where} on this machine: {error}; run this on the host that carries the source"
        ) from error


def _ms(answer: Answer) -> str:
    return f"{(answer.rtt_s or 0.0) * 1000:.2f} ms"
