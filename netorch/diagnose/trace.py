"""One packet, three times: through what the hosts should hold, through what they hold, and for real.

model    a walk over what each host's agent would make of the store
kernel   the same walk over the kernels of the hosts that are on this machine; the others are "not here"
probe    a live packet from the source's own namespace: heard by a listener at the destination, or counted by a drop counter

Where the packet arrives the answer is followed too; that one came back in truth is known if the receiver answers.

If they disagree, a kernel has drifted from the store or netorch has a bug; either way somebody must know.
"""

from __future__ import annotations

import time

import msgspec

from netorch.compiler.ports import inside_name
from netorch.control.views.describe import resolve
from netorch.diagnose import sites
from netorch.diagnose.appliances import not_forwarded
from netorch.diagnose.crossing import crossing_between, crossing_to, waiting_between
from netorch.diagnose.policy_indexes import names_of, policy_index_of
from netorch.drivers.netns import RUN_NETNS
from netorch.drivers.probe.echo import Listener
from netorch.drivers.probe.first_packet import ProbeResult, send_probe
from netorch.errors import KernelError, NetorchError, TraceError
from netorch.model.addr import AddressError, canonical_ip, parse_ip, parse_prefix, version_of
from netorch.model.eni import Attachment, Instance, NetworkInterface, primary_eni_id
from netorch.model.ids import is_id, port_name
from netorch.model.packet import Packet, echo
from netorch.model.security import ICMP, ICMPV6, PORT_LAST, TCP, UDP, Direction
from netorch.records.caller import Caller
from netorch.records.inventory import Inventory
from netorch.records.vpc import VpcRecords
from netorch.store.base import Store
from netorch.trace.codes import OF_COUNTER, Code
from netorch.trace.explain import Explanation, explain_round_trip, policy_text, said_at
from netorch.trace.host_model import HostModel
from netorch.trace.walk import round_trip
from netorch.trace.way import Departure, RoundTrip, Walk

_DCCP = 33  # Source: IANA protocol numbers
# To Linux these are the sender itself, 0.0.0.0 and :: too.
_OWN = tuple(parse_prefix(text) for text in ("0.0.0.0/32", "127.0.0.0/8", "::/128", "::1/128"))
_PROTOCOLS = {"icmp": ICMP, "icmpv6": ICMPV6, "tcp": TCP, "udp": UDP}


class Live(msgspec.Struct, frozen=True, kw_only=True):
    """What a live packet showed. `drops` are the counters of hosts on this machine that rose meanwhile."""

    probe: ProbeResult | None = None
    why_not: str = ""  # why none was sent
    drops: tuple[tuple[str, str], ...] = ()  # host, counter

    @property
    def arrived(self) -> bool | None:
        """Return whether it arrived; None when none was sent."""
        return self.probe.arrived if self.probe is not None else None

    @property
    def answered(self) -> bool:
        """Return whether an answer has come back; that none has may mean that nobody answers."""
        return self.probe is not None and bool(self.probe.answer)


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was found out about one packet, and about the answer to it if it arrives."""

    source: str
    destination: str
    vpc: str
    packet: Packet | None
    rules: dict[str, str] = {}  # what the records say at the sender ("egress") and at the receiver ("ingress")
    answer_rules: dict[str, str] = {}
    said_at: dict[tuple[str, str], str] = {}  # the same at each port on the way, appliances' too, by direction and port
    answer_said_at: dict[tuple[str, str], str] = {}
    model: RoundTrip | None = None
    kernel: RoundTrip | None = None
    kernel_problem: str = ""  # why there is no walk through kernels
    live: Live = Live()
    verdict: Explanation
    silent: tuple[str, ...] = ()  # hosts on the way whose agents do not run
    disagreement: str = ""

    @property
    def reachable(self) -> bool:
        """Return whether packet and answer arrive: as far as live ones did, and else as the walks say."""
        if self.live.arrived and self.model is not None:
            back = decisive(self.model, self.kernel).back
            return self.live.answered or back is None or back.arrived
        return self.verdict.code is None


def trace(
    store: Store, inventory: Inventory, caller: Caller, source: str, destination: str, service: str, *, timeout_s: float
) -> Report:
    """Return what becomes of a packet from one instance or interface to another, or to an address.

    Raises:
      ApiError: an end does not exist.
      NetorchError: the service cannot be read, or both ends are one.
    """
    records, near = _interface(inventory, caller, source)
    address, far = _destination(inventory, caller, records, destination)
    name = records.vpc.record.name
    problem = _problem(records, near, far, source, destination)
    if problem is not None:
        return Report(source=source, destination=destination, vpc=name, packet=None, verdict=problem)
    _refuse_own(near, address, source, destination)
    packet = make_packet(near, address, service)
    crossing = crossing_between(records, far[0]) if far is not None else crossing_to(inventory, caller, records, near, address)
    on_way = [records, *([crossing.peer] if crossing is not None else [])]
    start = Departure(host=records.mappings[near.address].record.host, ifname=port_name(near.id), mac=near.mac)
    hosts = sorted({host for found in on_way for host in sites.hosts_of(found)})
    host_models, problems = sites.modelled(store, hosts, records.vni)
    if start.host in problems:
        raise NetorchError(problems[start.host])
    model = round_trip(host_models, start, packet)
    kernel, kernel_problem = _by_kernels(hosts, host_models, model, start, packet)
    live = _live(on_way, near, packet, hosts, timeout_s)
    index = policy_index_of(*on_way)
    across = crossing.across(records, near, address) if crossing is not None else None
    said = explain_round_trip(index, records.vpc.record, packet, decisive(model, kernel), _names(on_way), across=across)
    ping = _ping(on_way, near, packet.destination)
    kept = not_forwarded(on_way, index, model.there, packet, _names(on_way)) if not live.drops else None
    silent = sorted(host for host in _hosts_on(model) if host not in inventory.hosts or not inventory.hosts[host].live)
    return Report(
        source=source,
        destination=destination,
        vpc=name,
        packet=packet,
        rules={direction.value: policy_text(index, packet, direction) for direction in Direction},
        answer_rules={way.value: policy_text(index, packet.answer(), way, is_answer=True) for way in Direction},
        said_at=said_at(index, packet, model.there, kernel.there if kernel is not None else None),
        answer_said_at=said_at(index, packet.answer(), model.back, kernel.back if kernel is not None else None, is_answer=True),
        model=model,
        kernel=kernel,
        kernel_problem=kernel_problem,
        live=live,
        verdict=_unheard(silent, kept, ping) if said.code is None and live.arrived is False else said,
        silent=tuple(silent),
        disagreement=disagreement(packet, model, kernel, live),
    )


def _refuse_own(near: NetworkInterface, address: str, source: str, destination: str) -> None:
    """Refuse a packet from an interface to itself. Raises NetorchError."""
    if address in (near.address, near.ipv6_address):
        raise NetorchError(f"trace: {source} to {destination}: one interface, and what it sends itself never leaves; choose two")
    if any(inside.holds(*parse_ip(address)) for inside in _OWN):
        raise NetorchError(
            f"trace: {destination} is the sender itself, whoever sends; name an instance or an address of `netorch map list`"
        )


def make_packet(near: NetworkInterface, address: str, service: str) -> Packet:
    """Return the packet that a service such as `tcp/443`, `icmp` or `47` begins with. Raises NetorchError."""
    version = version_of(address)
    source = near.address if version == 4 else near.ipv6_address
    if not source:
        raise NetorchError(f"trace: {near.id} has no IPv{version} address; trace to an address of the other version")
    word, slash, port = service.partition("/")
    protocol = _PROTOCOLS.get(word, int(word) if word.isascii() and word.isdigit() and int(word) <= 255 else -1)
    if word.isdigit() and protocol == (ICMPV6 if version == 4 else ICMP):
        raise NetorchError(f"trace: protocol {word} is not one of IPv{version}, and {address} is; write icmp")
    if protocol in (ICMP, ICMPV6) and not slash:
        return echo(source, address)
    if protocol in (TCP, UDP) and port.isascii() and port.isdigit() and int(port) <= PORT_LAST:
        return Packet(source=source, destination=address, protocol=protocol, source_port=49152, destination_port=int(port))
    if protocol < 0 or protocol in (TCP, UDP) or slash:
        raise NetorchError(
            f"trace: {service!r} is no service; write tcp/PORT, udp/PORT, icmp or the number of a protocol, 0 to 255"
        )
    return Packet(source=source, destination=address, protocol=protocol)


def disagreement(packet: Packet, model: RoundTrip, kernel: RoundTrip | None, live: Live) -> str:
    """Return in which way model, kernels and the live packet contradict each other; nothing when they agree."""
    kept = live.arrived is False and model.there.through and not live.drops  # by an appliance, which may drop what it likes
    arrived = None if kept else live.arrived
    text = _contradiction(model.there, kernel.there if kernel is not None else None, arrived, "reachable", "unreachable")
    if text and live.arrived and not (packet.has_ports or packet.has_type):  # every packet between the two is of one connection
        return f"{text}; a connection of protocol {packet.protocol} that began under other rules may still be tracked"
    if text or model.back is None:
        return text
    answered = True if live.answered else None
    return _contradiction(model.back, kernel.back if kernel is not None else None, answered, "answered", "not answered")


def _contradiction(model: Walk, kernel: Walk | None, live: bool | None, yes: str, no: str) -> str:
    """Return how model, kernels and the live packet differ about one way."""
    said = {"model": model.arrived}
    if kernel is not None:
        said["kernel"] = kernel.arrived
        if kernel.code is Code.CONNECTION_ALLOWANCE:  # the model knows nothing of how many connections there are
            model = kernel
            del said["model"]
    if live is not None:
        said["probe"] = live
    if len(set(said.values())) > 1:
        return ", ".join(f"{who} says {yes if value else no}" for who, value in said.items())
    ends = {(found.host, found.code) for found in (model, kernel) if found is not None}
    return "model and kernel end the packet at different places" if len(ends) > 1 else ""


def _names(on_way: list[VpcRecords]) -> dict[str, str]:
    """Return what people call each interface; those of the peer by its owner and name as well."""
    here, *peers = on_way
    found = names_of(here)
    for peer in peers:
        vpc = peer.vpc.record
        found |= {eni: f"{vpc.owner}/{vpc.name}/{name}" for eni, name in names_of(peer).items()}
    return found


def _ping(on_way: list[VpcRecords], near: NetworkInterface, address: str) -> str:
    """Return the command that pings from an interface's instance to that of an address."""
    here = on_way[0]
    ends = []
    for records, eni in ((here, near), _holder(on_way, address) or (here, near)):
        vpc = records.vpc.record
        ends.append(f"{vpc.owner}/{vpc.name}/{records.of(Instance)[eni.instance].record.name}")
    return " ".join(("netorch ping", *(["-6"] if version_of(address) == 6 else []), *ends))


def _holder(on_way: list[VpcRecords], address: str) -> tuple[VpcRecords, NetworkInterface] | None:
    """Return whose an address is: the sender's VPC has it, or else the peer."""
    for records in on_way:
        mapping = records.mappings.get(address)
        if mapping is not None:
            return records, records.of(NetworkInterface)[mapping.record.eni].record
    return None


def _unheard(silent: list[str], kept: Explanation | None, ping: str) -> Explanation:
    """Return what to say of a live packet that did not arrive though nothing refuses it."""
    if silent:
        sentence = f"{Code.HOST_SILENT.text} ({', '.join(silent)})"
        return Explanation(code=Code.HOST_SILENT, sentence=sentence, fix=f"start the agent of {silent[0]}; see netorch status")
    if kept is not None:
        return kept
    return Explanation(code=Code.PROBE_UNHEARD, sentence=Code.PROBE_UNHEARD.text, fix=f"try it layer by layer: {ping}")


def decisive(model: RoundTrip, kernel: RoundTrip | None) -> RoundTrip:
    """Return the ways that say why: those through kernels, if a packet dies there."""
    return kernel if kernel is not None and not kernel.succeeded else model


def _hosts_on(found: RoundTrip) -> set[str]:
    """Return the hosts that packet and answer pass."""
    return {hop.host for way in (found.there, found.back) if way is not None for hop in way.hops}


def _by_kernels(
    hosts: list[str], host_models: dict[str, HostModel], model: RoundTrip, start: Departure, packet: Packet
) -> tuple[RoundTrip | None, str]:
    """Return the ways through the kernels here, if all hosts on them are, or why there are none."""
    away = sorted(host for host in _hosts_on(model) if not sites.is_here(host))
    if away:
        return None, f"not here: {', '.join(away)}"
    try:
        return round_trip(sites.dumped(hosts, host_models), start, packet), ""
    except (KernelError, TraceError) as error:
        return None, str(error)


def _live(on_way: list[VpcRecords], near: NetworkInterface, packet: Packet, hosts: list[str], timeout_s: float) -> Live:
    """Send the packet from the source's namespace, with a listener at the destination's."""
    instance = on_way[0].of(Instance)[near.instance].record
    if instance.attachment is Attachment.TAP:
        return Live(why_not="the source is a virtual machine, which cannot be entered from here")
    if packet.protocol == _DCCP:
        return Live(why_not="the kernel tracks DCCP by its own handshake, which is not imitated")
    netns = instance.netns or instance.id
    if not (RUN_NETNS / netns).exists():
        return Live(why_not=f"the namespace of {instance.name} is not here")
    listener = _listener(_holder(on_way, packet.destination))
    try:
        before = sites.drop_counters(hosts)
        probe = send_probe(netns, packet, listener, timeout_s)
        after = sites.drop_counters(hosts)
    except (KernelError, OSError) as error:
        return Live(why_not=str(error))
    finally:
        if listener is not None:
            listener.close()
    drops = tuple(key for key, count in after.items() if count > before.get(key, 0) and key[1] in OF_COUNTER)
    return Live(probe=probe, drops=() if probe.arrived else drops)


def _listener(holder: tuple[VpcRecords, NetworkInterface] | None) -> Listener | None:
    if holder is None:
        return None
    records, eni = holder
    if eni.instance not in records.of(Instance):
        return None
    instance = records.of(Instance)[eni.instance].record
    netns = instance.netns or instance.id
    if instance.attachment is Attachment.TAP or not (RUN_NETNS / netns).exists():
        return None
    return Listener(netns, inside_name(eni, instance))


def resources_of(source: str, destination: str) -> list[tuple[str, str]]:
    """Return the kinds and names of those ends of a trace that are no addresses."""
    return [(_kind(end), end) for end in (source, destination) if not _is_address(end)]


def _is_address(text: str) -> bool:
    try:
        return bool(canonical_ip(text))
    except AddressError:
        return False


def _kind(end: str) -> str:
    return "eni" if is_id(end, "eni") else "i"


def _interface(inventory: Inventory, caller: Caller, text: str) -> tuple[VpcRecords, NetworkInterface]:
    """Return an interface by its id, or an instance's own one by the instance's name or id. Raises ApiError."""
    if _kind(text) == "eni":
        records, eni = resolve(inventory, caller, "eni", text)
        return records, eni
    records, instance = resolve(inventory, caller, "i", text)
    own = records.of(NetworkInterface).get(primary_eni_id(instance.id))
    if own is None:
        raise NetorchError(f"trace: {text} has no network interface of its own; name one: netorch eni list")
    return records, own.record


def _destination(
    inventory: Inventory, caller: Caller, records: VpcRecords, text: str
) -> tuple[str, tuple[VpcRecords, NetworkInterface] | None]:
    """Return the address that is meant, and whose it is when an instance or interface was named."""
    if _is_address(text):
        return canonical_ip(text), None
    there, eni = _interface(inventory, caller, text)
    return eni.address, (there, eni)


def _problem(
    records: VpcRecords, near: NetworkInterface, far: tuple[VpcRecords, NetworkInterface] | None, source: str, destination: str
) -> Explanation | None:
    """Return why no packet can be on its way at all, or None."""
    ends = [(records, near, source), *([(*far, destination)] if far is not None else [])]
    if far is not None and far[0].vni != records.vni and crossing_between(records, far[0]) is None:
        waiting = waiting_between(records, far[0], time.time())
        if waiting is not None:
            sentence = f"{Code.BAD_STATE.text}: {waiting.id} is {waiting.status.value}"
            return Explanation(code=Code.BAD_STATE, sentence=sentence, fix=f"netorch peering accept {waiting.id}")
        names = records.vpc.record.name, far[0].vpc.record.name
        sentence = f"{source} is in VPC {names[0]}, {destination} in {names[1]}: {Code.DIFFERENT_VPCS.text}"
        return Explanation(code=Code.DIFFERENT_VPCS, sentence=sentence)
    for of, eni, name in ends:
        if not of.mappings_of(eni):
            sentence = f"{name}: {Code.INTERFACE_NOT_ATTACHED.text}"
            return Explanation(
                code=Code.INTERFACE_NOT_ATTACHED,
                sentence=sentence,
                fix=f"attach it, {eni.id}, to an instance: netorch instance list",
            )
    return None
