"""One packet, three times: through the hosts' desired state, through their kernels, and live.

model    a walk over the desired state of each host, as its agent would compile it from the store
kernel   the same walk over the kernels of the hosts on this machine; the others are "not here"
probe    a live packet from the source's own namespace, or from the outside of an edge: a listener receives it where it arrives,
         or leaves for a site, or a drop counter counts it

If the packet arrives, its answer is followed too. A live answer only shows if the receiver responds. From the internet a
packet, or an answer, may come through any edge with the VPC's gateway; from a site, over any tunnel or VLAN by which an
edge reaches the site. All of these ways must work. Later packets of a connection may go by flowtables: their way follows.

If the three disagree, a kernel has drifted from the store or netorch has a bug; the report shows it in either case. If a
kernel's flowtable only lacks what the model's has, and the host reports the VPC as degraded, packets are slower than by the
records, but the three do not disagree.
"""

from __future__ import annotations

import msgspec

from netorch.diagnose import sites
from netorch.diagnose.appliances import not_forwarded
from netorch.diagnose.course import Course, from_interface, from_internet, holder
from netorch.diagnose.ends import End, is_outside
from netorch.diagnose.later import Offloading, compare_flowtables, why_judged
from netorch.diagnose.live import Live, live_from_instance, live_from_internet
from netorch.diagnose.outside import is_offered, no_edge_answers, no_port, refined, to_service
from netorch.diagnose.policy_indexes import Indexes, names_of
from netorch.diagnose.services.ways import refined_at_service
from netorch.diagnose.vpn.ways import refined_to_site
from netorch.errors import KernelError, NetorchError, TraceError
from netorch.model.addr import version_of
from netorch.model.eni import Instance, NetworkInterface
from netorch.model.ids import port_name
from netorch.model.packet import Packet
from netorch.model.security import Direction
from netorch.records.caller import Caller
from netorch.records.inventory import Inventory
from netorch.records.vpc import VpcRecords
from netorch.store.base import Store
from netorch.trace.codes import Code
from netorch.trace.explain import Explanation, explain_round_trip, policy_text, said_at
from netorch.trace.host_model import HostModel
from netorch.trace.policy_index import PolicyIndex
from netorch.trace.walk import round_trip
from netorch.trace.way import Arrival, RoundTrip, Start, Walk


class Ways(msgspec.Struct, frozen=True, kw_only=True):
    """The ways of a packet from one start, through the model and through kernels, if these are on this machine."""

    start: Start
    model: RoundTrip
    kernel: RoundTrip | None = None

    @property
    def differs(self) -> bool:
        """Return whether a packet dies in the model or in kernels."""
        return not self.model.succeeded or (self.kernel is not None and not self.kernel.succeeded)


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All results about one packet, and about its answer if it arrives."""

    source: str
    destination: str
    vpc: str
    packet: Packet | None
    rules: dict[str, str] = {}  # the records' verdict at the sender ("egress") and at the receiver ("ingress")
    answer_rules: dict[str, str] = {}
    said_at: dict[tuple[str, str], str] = {}  # the same at each port on the way, including appliances', by direction and port
    answer_said_at: dict[tuple[str, str], str] = {}
    model: RoundTrip | None = None
    kernel: RoundTrip | None = None
    kernel_problem: str = ""  # why there is no walk through kernels
    live: Live = Live()
    verdict: Explanation
    silent: tuple[str, ...] = ()  # hosts on the way whose agents are not running
    judged: dict[str, str] = {}  # hypervisors where, by the model, rules judge later packets; and why, if the model shows it
    offloading: Offloading = Offloading()  # where model and kernels differ about later packets, if they differ in nothing else
    disagreement: str = ""

    @property
    def slower(self) -> str:
        """Return why later packets are slower than by the records, if hosts report that themselves; else ""."""
        return self.offloading.text if self.offloading.is_reported else ""

    @property
    def reachable(self) -> bool:
        """Return whether packet and answer arrive: by the live packet if it did, else by the walks."""
        if self.live.arrived and self.model is not None:
            back = decisive(self.model, self.kernel).back
            return self.live.answered or back is None or back.arrived
        return self.verdict.code is None


def trace(
    store: Store, inventory: Inventory, caller: Caller, source: str, destination: str, service: str, *, timeout_s: float
) -> Report:
    """Return the trace of a packet from one instance or interface to another, to an address, or from the internet.

    Raises:
      ApiError: an end does not exist.
      NetorchError: the service is invalid, or both ends are the same.
    """
    if is_outside(source):
        records, course = from_internet(store, inventory, caller, source, destination, service)
    else:
        records, course = from_interface(store, inventory, caller, source, destination, service)
    name = records.vpc.record.name if records is not None else ""
    if isinstance(course, Explanation):
        return Report(source=source, destination=destination, vpc=name, packet=None, verdict=course)
    host_models, problems = sites.modelled(store, course.hosts, course.on_way)
    for start in course.starts:
        if start.host in problems:
            raise NetorchError(problems[start.host])
    ways, kernel_problem = _ways(course, host_models)
    decisive_way = decisive(ways.model, ways.kernel)
    course = _with_receiver(course, decisive_way.there)
    live = _live(course, ways.start, decisive_way.there, host_models, timeout_s)
    indexes = Indexes(course.on_way, apart=course.apart)
    offloading, contradiction = _compared(inventory, course.packet, ways, live)
    return Report(
        source=source,
        destination=destination,
        vpc=name,
        packet=course.packet,
        rules=_rules(indexes, course, ways.model.there),
        answer_rules=_answer_rules(indexes, course, ways.model),
        said_at=said_at(indexes, [found.there for found in _trips(ways)]),
        answer_said_at=said_at(indexes, [back for found in _trips(ways) for back in found.backs], is_answer=True),
        model=ways.model,
        kernel=ways.kernel,
        kernel_problem=kernel_problem,
        live=live,
        verdict=_verdict(store, inventory, indexes, course, ways, live),
        silent=_silent(inventory, ways.model),
        judged=why_judged(inventory, host_models, ways.model, _unchecked(course)),
        offloading=offloading,
        disagreement=contradiction,
    )


def _ways(course: Course, host_models: dict[str, HostModel]) -> tuple[Ways, str]:
    """Return the ways from the first start with a problem, else the first; and why there are none through kernels."""
    found = [Ways(start=start, model=round_trip(host_models, start, course.packet, course.seen)) for start in course.starts]
    away = sorted({host for ways in found for host in _hosts_on(ways.model) if not sites.is_here(host)})
    problem = f"not on this machine: {', '.join(away)}" if away else ""
    try:
        if not problem:
            kernels = sites.dumped(course.hosts, host_models)
            trips = [round_trip(kernels, ways.start, course.packet, course.seen) for ways in found]
            found = [msgspec.structs.replace(ways, kernel=trip) for ways, trip in zip(found, trips, strict=True)]
    except (KernelError, TraceError) as error:
        problem = str(error)
    return next((ways for ways in found if ways.differs), found[0]), problem


def _live(course: Course, start: Start, way: Walk, host_models: dict[str, HostModel], timeout_s: float) -> Live:
    """Send the live packet."""
    if isinstance(start, Arrival):
        assert course.far is not None
        return live_from_internet(start, course.packet, way, course.far, host_models, timeout_s)
    assert course.near is not None
    return live_from_instance(course.near, course.packet, way, course.far, host_models, timeout_s)


def _verdict(store: Store, inventory: Inventory, indexes: Indexes, course: Course, ways: Ways, live: Live) -> Explanation:
    """Return why the packet or its answer does not arrive, or that both do."""
    names, records = _names(list(course.on_way)), course.on_way[0]
    found, end = decisive(ways.model, ways.kernel), course.near or course.far
    last = (found.back if found.there.arrived and found.back is not None and not found.back.arrived else found.there).hops[-1].vni
    index, at = indexes.of(last), _vpc_at(course, last)
    said = explain_round_trip(index, at.vpc.record, found, names, across=course.across)
    if course.anybody:  # the address only stands for the internet: a rule for it alone would be useless
        said = msgspec.structs.replace(said, fix=said.fix.replace(f"{course.anybody}/32", "0.0.0.0/0"))
    if said.code is not None:
        died = found.there if not found.there.arrived else found.back
        if died is not None and (refined_said := refined_at_service(said, died, course.on_way)) != said:
            return refined_said
        if course.site and died is not None and end is not None:
            return refined_to_site(store, said, died, end)
        if not course.outside or died is None or end is None:
            return said
        if said.code is Code.NO_ROUTE_TO_DESTINATION and (fix := to_service(end, died.packet.destination)):
            return msgspec.structs.replace(said, fix=fix)
        return refined(store, said, died, end) if is_offered(store) else said
    if (
        (course.outside or course.apart)
        and not live.arrived
        and end is not None
        and (lost := no_edge_answers(store, end)) is not None
    ):
        return lost
    if live.arrived is not False:
        return said
    if live.at_limit:
        return no_port(store, records, ways.model.there, live.at_limit)
    kept = not_forwarded(list(course.on_way), index, ways.model.there, course.packet, names) if not live.drops else None
    return _unheard(_silent(inventory, ways.model), kept, _advice(course))


def _with_receiver(course: Course, there: Walk) -> Course:
    """Return a course with the receiver if only the way determines it: a target behind an endpoint."""
    if course.far is not None or not there.arrived:
        return course
    ends = (End(records, eni) for records in course.on_way for eni in records.each(NetworkInterface))
    return msgspec.structs.replace(course, far=next((end for end in ends if port_name(end.eni.id) == there.arrived_at), None))


def _vpc_at(course: Course, vni: int) -> VpcRecords:
    """Return the VPC with a VNI if the packet passes an endpoint; else the sender's."""
    here = course.on_way[0]
    two = course.apart and course.across is None
    return next((records for records in course.on_way if records.vni == vni), here) if two else here


def _rules(indexes: Indexes, course: Course, there: Walk) -> dict[str, str]:
    """Return the records' verdicts at the interfaces at both ends."""
    found = {}
    if course.near is not None and not there.at_host:
        near = course.near
        found[Direction.EGRESS.value] = policy_text(
            indexes.of(near.records.vni), course.packet, Direction.EGRESS, port=port_name(near.eni.id)
        )
    if course.far is not None or not (course.outside or course.apart or there.at_host):
        index, port = _at_far(indexes, course)
        found[Direction.INGRESS.value] = policy_text(index, there.packet, Direction.INGRESS, port=port)
    return found


def _answer_rules(indexes: Indexes, course: Course, model: RoundTrip) -> dict[str, str]:
    """Return the same for the answer."""
    packet = model.there.packet.answer()
    found = {}
    if course.far is not None or not (course.outside or course.apart or model.there.at_host):
        index, port = _at_far(indexes, course)
        found[Direction.EGRESS.value] = policy_text(index, packet, Direction.EGRESS, port=port, is_answer=True)
    if course.near is not None and not model.there.at_host:
        near, back = course.near, course.packet.answer()
        found[Direction.INGRESS.value] = policy_text(
            indexes.of(near.records.vni), back, Direction.INGRESS, port=port_name(near.eni.id), is_answer=True
        )
    return found


def _at_far(indexes: Indexes, course: Course) -> tuple[PolicyIndex, str]:
    """Return the rules of the receiver's VPC, and its port if it is known."""
    far = course.far
    return (indexes.of(far.records.vni), port_name(far.eni.id)) if far is not None else (indexes.of(course.on_way[0].vni), "")


def _trips(ways: Ways) -> list[RoundTrip]:
    return [ways.model, *([ways.kernel] if ways.kernel is not None else [])]


def _unchecked(course: Course) -> set[str]:
    """Return the ports of the ends without source/destination check."""
    ends = [end.eni for end in (course.near, course.far) if end is not None]
    return {port_name(eni.id) for eni in ends if not eni.source_dest_check}


def _silent(inventory: Inventory, model: RoundTrip) -> tuple[str, ...]:
    """Return the hosts on the ways whose agents are not running."""
    hosts = sorted(_hosts_on(model))
    return tuple(host for host in hosts if host not in inventory.hosts or not inventory.hosts[host].live)


def _compared(inventory: Inventory, packet: Packet, ways: Ways, live: Live) -> tuple[Offloading, str]:
    """Return where model and kernels differ about flowtables only, and the disagreement: none if hosts report the former."""
    text = disagreement(packet, ways.model, ways.kernel, live)
    if text or ways.kernel is None:
        return Offloading(), text
    found = compare_flowtables(inventory, ways.model.later, ways.kernel.later)
    return found, "" if found.is_reported else found.text


def disagreement(packet: Packet, model: RoundTrip, kernel: RoundTrip | None, live: Live) -> str:
    """Return how model, kernels and the live packet contradict each other about arrival, or "" if they agree."""
    kept = live.arrived is False and model.there.through and not live.drops  # by an appliance, which has its own rules
    unheard = model.there.served and model.back is not None and not model.back.arrived  # the host itself answers
    arrived = None if kept or unheard or live.at_limit else live.arrived
    text = _contradiction(model.there, kernel.there if kernel is not None else None, arrived, "reachable", "unreachable")
    if text and live.arrived and not (packet.has_ports or packet.has_type):  # all packets are of one connection
        return f"{text}; a connection of protocol {packet.protocol} from before a rule change may still be tracked"
    if text or model.back is None:
        return text
    answered = True if live.answered else None
    text = _contradiction(model.back, kernel.back if kernel is not None else None, answered, "answered", "not answered")
    if text or model.later is None or kernel is None or kernel.later is None:
        return text
    return _contradiction(model.later, kernel.later, None, "later packets arrive", "later packets do not arrive")


def _contradiction(model: Walk, kernel: Walk | None, live: bool | None, yes: str, no: str) -> str:
    """Return how model, kernels and the live packet differ about one way."""
    said = {"model": model.arrived}
    if kernel is not None:
        said["kernel"] = kernel.arrived
        if kernel.code is Code.CONNECTION_ALLOWANCE:  # the model does not know the number of connections
            model = kernel
            del said["model"]
    if live is not None:
        said["probe"] = live
    if len(set(said.values())) > 1:
        return ", ".join(f"{who} says {yes if value else no}" for who, value in said.items())
    ends = {(found.host, found.code) for found in (model, kernel) if found is not None}
    return "the packet ends at different places in model and kernel" if len(ends) > 1 else ""


def _names(on_way: list[VpcRecords]) -> dict[str, str]:
    """Return the name of each interface for people; for a peer's with its owner and VPC."""
    here, *peers = on_way
    found = names_of(here)
    for peer in peers:
        vpc = peer.vpc.record
        found |= {eni: f"{vpc.owner}/{vpc.name}/{name}" for eni, name in names_of(peer).items()}
    return found


def _ping(on_way: list[VpcRecords], near: NetworkInterface, address: str) -> str:
    """Return the command for a ping from an interface's instance to the instance with an address."""
    here = on_way[0]
    ends = []
    for records, eni in ((here, near), holder(on_way, address) or (here, near)):
        vpc = records.vpc.record
        ends.append(f"{vpc.owner}/{vpc.name}/{records.of(Instance)[eni.instance].record.name}")
    return " ".join(("netorch ping", *(["-6"] if version_of(address) == 6 else []), *ends))


def _advice(course: Course) -> str:
    """Return the next command to try if no listener received the packet."""
    if course.near is None or course.outside or course.apart:
        edges = sorted({edge for records in course.on_way for edge in sites.edges_of(records)})
        return f"check its edges: netorch status ({', '.join(edges)})"
    return f"test layer by layer: {_ping(list(course.on_way), course.near.eni, course.packet.destination)}"


def _unheard(silent: tuple[str, ...], kept: Explanation | None, advice: str) -> Explanation:
    """Return the explanation of a live packet that did not arrive although no rule drops it."""
    if silent:
        sentence = f"{Code.HOST_SILENT.text} ({', '.join(silent)})"
        return Explanation(code=Code.HOST_SILENT, sentence=sentence, fix=f"start the agent of {silent[0]}; see netorch status")
    return kept or Explanation(code=Code.PROBE_UNHEARD, sentence=Code.PROBE_UNHEARD.text, fix=advice)


def decisive(model: RoundTrip, kernel: RoundTrip | None) -> RoundTrip:
    """Return the ways that determine the verdict: those through kernels if a packet dies there, else the model's."""
    return kernel if kernel is not None and not kernel.succeeded else model


def _hosts_on(found: RoundTrip) -> set[str]:
    """Return the hosts that packet and answer pass."""
    return {hop.host for way in found.ways for hop in way.hops}
