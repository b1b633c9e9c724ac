"""Time of one changed rule from the store to a host's kernel, what it grows with, and whether packets get wrong verdicts.

The VPC has 1,000 members of one group, 200 of them on hv1; the agent is the real one in its own process. First with a kernel
in memory on this machine, where only the control plane counts, then in the lab kernel, where system calls are an order of
magnitude slower. There, a probe also sends packets that are always permitted and packets that never are while rules change.
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import msgspec
from common import Figure, best_in_turns, growth, lab_underlay, percentile, show
from propagation import HOSTS, PAUSE_S, AgentProcess, Applied

from netorch.compiler.base import HostView, Identity, LocalEni, VpcPart, VpcView
from netorch.compiler.registry import compile_vpc_part, inputs_of, load_compilers, parts_of
from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.drivers import netns
from netorch.lab.kernel import run_in_kernel
from netorch.model.cloud import Cloud, HostDecl, IngressDecl, InstanceDecl, SecurityGroupDecl, SubnetDecl, VpcDecl
from netorch.model.eni import Attachment, Host, Instance, NetworkInterface
from netorch.model.ids import make_id
from netorch.model.security import ICMP, TCP, NetworkAcl, SecurityGroup, SecurityGroupRule, default_acl
from netorch.model.vpc import Subnet, Vpc
from netorch.records import keys
from netorch.records.caller import Caller
from netorch.records.codec import decode, encode
from netorch.store import open_store
from netorch.store.base import Put, Store

OTHERS = (10, 100, 1_000)  # VPCs beside the watched one, each with a tap on hv1 and one on hv2
RULES = (10, 100, 1_000)
MEMBERS = 1_000
LOCAL = 200
CHANGES = 200
UPDATES = 1_000
ROUNDS = 15
MEMORY_MB = 2_500
GOAL_MS = 20.0
VNI = 5_000_000
PERMITTED, REFUSED = 53, 54  # UDP ports
PROBE_S = 0.001
LATE_S = 0.5  # after the probe ends, so that packets under way arrive
OPERATOR = Caller(operator=True)
GROUP = "web"


def cloud(others: int, members: int, local: int, attachment: Attachment) -> Cloud:
    """Return VPCs with a tap on hv1 and on hv2 each, and the watched VPC, whose members may send each other one UDP port."""
    subnet = SubnetDecl(name="all", cidr="10.44.0.0/16")
    pair = [
        InstanceDecl(name=f"on-{host}", host=host, address=f"10.44.0.{last}", attachment=Attachment.TAP)
        for last, host in enumerate(("hv1", "hv2"), 4)
    ]
    foreign = [
        VpcDecl(
            name=f"vpc-{number:05d}", owner=f"customer-{number % 500:03d}", cidrs=[subnet.cidr], subnets=[subnet], instances=pair
        )
        for number in range(others)
    ]
    instances = [
        InstanceDecl(
            name=f"m{number:04d}",
            host="hv1" if number < local else "hv2",
            security_groups=[GROUP],
            attachment=attachment if number < local else Attachment.TAP,
        )
        for number in range(members)
    ]
    group = SecurityGroupDecl(name=GROUP, ingress=[IngressDecl(protocol="udp", ports=PERMITTED, source=f"sg-{GROUP}")])
    watched = VpcDecl(
        name="watched", vni=VNI, cidrs=[subnet.cidr], subnets=[subnet], security_groups=[group], instances=instances
    )
    return Cloud(hosts=[HostDecl(name=name, underlay=vtep) for name, vtep in HOSTS.items()], vpcs=[*foreign, watched])


def rules(count: int) -> tuple[SecurityGroupRule, ...]:
    """Return rules, each for other addresses and ports."""
    return tuple(
        SecurityGroupRule(
            id=make_id("sgr", VNI, number),
            protocol=TCP,
            from_port=1000 + number,
            to_port=1000 + number + number % 5,
            cidr=f"172.{16 + number % 16}.{number // 16}.0/24",
        )
        for number in range(count)
    )


class Group:
    """The watched group; this process changes its record as the control plane does."""

    def __init__(self, store: Store) -> None:
        self._store = store
        found = [kv for kv in store.list(keys.vpc_prefix(VNI)).kvs if "/sg/" in kv.key]
        groups = [decode(kv, SecurityGroup) for kv in found]
        self._record = next(group for group in groups if group.name == GROUP)

    def also_permit(self, more: Sequence[SecurityGroupRule]) -> tuple[float, float]:
        """Commit the group with its first rules and these; return the times before and after the commit."""
        changed = msgspec.structs.replace(self._record, ingress=(*self._record.ingress, *more))
        value = encode(changed)
        begin = time.monotonic()
        self._store.txn((), [Put(keys.resource(changed.id), value)])
        return begin, time.monotonic()


class Result(msgspec.Struct, kw_only=True):
    """The cost of changes of one rule."""

    seconds: list[float]  # from before the commit until after the kernel's answer
    commits: list[float]
    applies: list[float]
    operations: set[int]


@contextlib.contextmanager
def site(kind: str, wanted: Cloud) -> Iterator[tuple[Store, AgentProcess]]:
    """Yield a store with this cloud and the agent of hv1; remove everything at the end."""
    with tempfile.TemporaryDirectory(prefix="netorch-bench-") as name:
        path = Path(name, "store.db")
        underlay = lab_underlay("hv1", HOSTS["hv1"]) if kind == "linux" else ""
        store = open_store(str(path), create=True)
        apply_cloud(store, plan_cloud(store, OPERATOR, wanted))
        agent = AgentProcess(kind, str(path), path.parent, underlay)
        yield store, agent
        agent.end()
        store.close()
        for namespace in ("u-hv1", "netorch-hv1") if underlay else ():
            netns.remove(namespace)


def flips(group: Group, agent: AgentProcess, count: int) -> Result:
    """Return the cost of adding and removing one rule of `count`."""
    all_but_one, everything = rules(count - 1), rules(count)
    group.also_permit(all_but_one)
    agent.hear(Applied)
    result = Result(seconds=[], commits=[], applies=[], operations=set())
    for number in range(CHANGES):
        time.sleep(random.uniform(0, PAUSE_S))
        begin, committed = group.also_permit(all_but_one if number % 2 else everything)
        applied = agent.hear(Applied)
        result.seconds.append(applied.at - begin)
        result.commits.append(committed - begin)
        result.applies.append(applied.seconds)
        result.operations.add(applied.operations)
    return result


# --- compilers alone ------------------------------------------------------------------------------------------------------------


def view(count: int) -> VpcView:
    """Return the compilers' view of a VPC with one local interface and a group of `count` rules in each direction."""
    vpc = Vpc(id=make_id("vpc", VNI, 1), vni=VNI, owner="o", name="v", cidrs=("10.44.0.0/16",))
    subnet = Subnet(id=make_id("subnet", VNI, 1), vni=VNI, name="s", cidr="10.44.0.0/16")
    group = SecurityGroup(id=make_id("sg", VNI, 1), vni=VNI, name=GROUP, ingress=rules(count), egress=rules(count))
    instance = Instance(id=make_id("i", VNI, 1), vni=VNI, name="i")
    eni = NetworkInterface(
        id=make_id("eni", VNI, 1),
        vni=VNI,
        subnet=subnet.id,
        mac="02:00:00:00:00:01",
        address="10.44.0.4",
        instance=instance.id,
        groups=(group.id,),
    )
    return VpcView(
        vni=VNI,
        inputs={
            **dict.fromkeys(inputs_of(load_compilers()), ()),
            HostView: (HostView(host=Host(name="hv1", underlay=HOSTS["hv1"]), underlay_ifname="eth0", underlay_mtu=1550),),
            Vpc: (vpc,),
            LocalEni: (LocalEni(eni=eni, subnet=subnet, instance=instance),),
            SecurityGroup: (group,),
            NetworkAcl: (default_acl(make_id("acl", VNI, 1), VNI),),
            Identity: (Identity(eni.groups),),
        },
    )


def compile_figures() -> list[Figure]:
    """Return how the time to compile a group grows with its rules."""
    (part,) = [part for part in parts_of(load_compilers(), VpcPart) if part.id == "chains.rules"]
    actions: dict[str, Callable[[], object]] = {str(count): partial(compile_vpc_part, part, view(count)) for count in RULES}
    best = best_in_turns(actions, ROUNDS)
    costs = [best[str(count)] for count in RULES]
    note = ", ".join(f"{cost * 1e3:.2f} ms" for cost in costs)
    name = f"compile a group of {RULES[0]} -> {RULES[-1]:,} rules each way, growth"
    return [Figure(name=name, value=growth(RULES, costs), unit="exponent", goal=1.1, note=note)]


# --- commit to kernel -----------------------------------------------------------------------------------------------------------


def result_figure(name: str, result: Result, goal_ms: float | None) -> Figure:
    """Return the median and its parts."""
    p50 = {part: percentile(values, 50) * 1e3 for part, values in (("commit", result.commits), ("apply", result.applies))}
    note = f"p99 {percentile(result.seconds, 99) * 1e3:.2f} ms; p50 of commit {p50['commit']:.2f}, of apply {p50['apply']:.2f} ms"
    return Figure(name=name, value=percentile(result.seconds, 50) * 1e3, unit="ms", goal=goal_ms, note=note)


def change_figures(kind: str, goal_ms: float, growth_goal: float | None) -> list[Figure]:
    """Return the cost of a changed rule, by the number of other VPCs on the host and by the number of rules in the group."""
    by_others: dict[int, Result] = {}
    by_rules: dict[int, Result] = {}
    for others in OTHERS:
        with site(kind, cloud(others, MEMBERS, LOCAL, Attachment.TAP)) as (store, agent):
            group = Group(store)
            by_others[others] = flips(group, agent, RULES[1])
            if others == OTHERS[0]:
                by_rules = {count: flips(group, agent, count) for count in RULES}
    operations = set().union(*(result.operations for result in (*by_others.values(), *by_rules.values())))
    medians = [percentile(by_others[others].seconds, 50) for others in OTHERS]
    table = [
        Figure(name="operations of a change: most - least", value=max(operations) - min(operations), goal=0, digits=0),
        Figure(name="  operations of a change", value=max(operations), digits=0),
        Figure(
            name=f"{OTHERS[0]} -> {OTHERS[-1]:,} other VPCs, growth", value=growth(OTHERS, medians), unit="exponent", goal=0.1
        ),
    ]
    table += [result_figure(f"{others:,} other VPCs, commit to kernel, p50", by_others[others], goal_ms) for others in OTHERS]
    medians = [percentile(by_rules[count].seconds, 50) for count in RULES]
    table.append(Figure(name=f"{RULES[0]} -> {RULES[-1]:,} rules, growth", value=growth(RULES, medians), unit="exponent"))
    table += [result_figure(f"{count:,} rules, commit to kernel, p50", by_rules[count], None) for count in RULES]
    return table


# --- wrong verdicts -------------------------------------------------------------------------------------------------------------


class Verdicts(msgspec.Struct, kw_only=True):
    """The results of the probe's packets."""

    sent: int = 0
    lost: int = 0  # permitted, and did not arrive
    leaked: int = 0  # not permitted, and arrived
    longest_s: float = 0.0  # between two packets of a kind


def probe(sender: str, receiver: str, address: str) -> None:
    """Send a packet of each kind every millisecond between two instances until stdin ends, then print the verdicts."""
    out = _socket_in(sender)
    inlets = {port: _socket_in(receiver, port) for port in (PERMITTED, REFUSED)}
    arrived = dict.fromkeys(inlets, 0)
    verdicts = Verdicts()
    last = time.monotonic()
    while not select.select([sys.stdin], [], [], PROBE_S)[0]:
        now = time.monotonic()
        verdicts.longest_s, last = max(verdicts.longest_s, now - last), now
        for port, inlet in inlets.items():
            out.sendto(b"?", (address, port))
            arrived[port] += _take(inlet)
        verdicts.sent += 1
    time.sleep(LATE_S)
    verdicts.lost = verdicts.sent - arrived[PERMITTED] - _take(inlets[PERMITTED])
    verdicts.leaked = arrived[REFUSED] + _take(inlets[REFUSED])
    print(msgspec.json.encode(verdicts).decode(), flush=True)


def _socket_in(namespace: str, port: int = 0) -> socket.socket:
    descriptor = netns.find(namespace)
    with netns.inside(descriptor):
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    os.close(descriptor)
    if port:
        made.bind(("0.0.0.0", port))
        made.setblocking(False)
    return made


def _take(inlet: socket.socket) -> int:
    """Read all waiting packets of a socket; return their number."""
    count = 0
    with contextlib.suppress(BlockingIOError):
        while inlet.recv(64):
            count += 1
    return count


def verdict_figures() -> list[Figure]:
    """Return the results of a probe while rules change: first elements of a set, then the chain itself."""
    with site("linux", cloud(0, 2, 2, Attachment.NETNS)) as (store, agent):
        found = [kv for kv in store.list(keys.vpc_prefix(VNI)).kvs if "/eni/" in kv.key]
        enis = [decode(kv, NetworkInterface) for kv in found]
        command = [sys.executable, __file__, "--probe", enis[0].instance, enis[1].instance, enis[1].address]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        group = Group(store)
        base = rules(RULES[1])
        steps = {"elements": (base[1:], base), "chain": (base[1:], (*base[1:], _another_kind()))}
        seconds: dict[str, list[float]] = {}
        for name, states in steps.items():
            group.also_permit(states[0])
            agent.hear(Applied)
            seconds[name] = []
            for number in range(UPDATES // len(steps)):
                group.also_permit(states[1 - number % 2])
                seconds[name].append(agent.hear(Applied).seconds)
            group.also_permit(())
            agent.hear(Applied)
        said, _ = process.communicate(b"")
        verdicts = msgspec.json.decode(said, type=Verdicts)
    note = f"{verdicts.sent:,} packets of each kind during {UPDATES:,} updates, gaps of at most {verdicts.longest_s * 1e3:.0f} ms"
    table = [
        Figure(name="permitted packets lost", value=verdicts.lost, goal=0, digits=0, note=note),
        Figure(name="dropped packets let through", value=verdicts.leaked, goal=0, digits=0),
    ]
    for name, values in seconds.items():
        note = f"p99 {percentile(values, 99) * 1e3:.2f} ms, longest {max(values) * 1e3:.2f} ms"
        table.append(Figure(name=f"an update of the {name}, p50", value=percentile(values, 50) * 1e3, unit="ms", note=note))
    return table


def _another_kind() -> SecurityGroupRule:
    """Return a rule that needs another set."""
    return SecurityGroupRule(id=make_id("sgr", VNI, 1 << 40), protocol=ICMP, from_port=8, to_port=0, cidr="172.16.0.0/12")


def main(arguments: Sequence[str]) -> int:
    """Run all parts, or the part for this process."""
    match arguments:
        case ["--probe", sender, receiver, address]:
            probe(sender, receiver, address)
            return 0
        case ["--inside"]:
            missed = show("inside the lab kernel: packets evaluated while rules change", verdict_figures())
            missed += show("inside the lab kernel, with LinuxKernel", change_figures("linux", GOAL_MS, None))
            return int(missed > 0)
    missed = show("compilers", compile_figures())
    missed += show("on this machine, with a kernel in memory", change_figures("fake", GOAL_MS, 0.1))
    return int(missed > 0) | run_in_kernel([sys.executable, __file__, "--inside"], memory_mb=MEMORY_MB)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
