"""A small cloud inside this kernel: hosts on a routed underlay, a store in a file, an agent per host.

    hv1 eth0 --- to-hv1 spine to-hv2 --- eth0 hv2      each host holds its VTEP as a /32: the underlay routes

Agents run as threads of this process, because a fork can cost 200 ms in the lab kernel. Tests that kill agents run them as
processes.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from pyroute2 import IPRoute

from netorch.control.actions.hosts import create_host
from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.control.views.describe import resolve
from netorch.drivers import netns
from netorch.drivers.linux import LinuxKernel
from netorch.drivers.probe.echo import Pinger, Probe, ask
from netorch.model.eni import EniState, Instance, NetworkInterface
from netorch.model.ids import port_name
from netorch.model.mapping import Mapping
from netorch.records.caller import Caller
from netorch.records.inventory import Inventory, read_inventory
from netorch.records.vpc import VpcRecords
from netorch.spec import load_cloud
from netorch.store import open_store
from netorch.store.base import Store
from tests.rig.agents import AgentProcess, AgentThread, AttentiveAgent, Host
from tests.rig.hosts import end_services
from tests.rig.packets import PATIENCE_S
from tests.rig.services import remembered

T = TypeVar("T")

UNDERLAY_MTU = 1550
SAVED_S = 300.0  # for a snapshot: after a save an agent rests for 50 times as long as it took, e.g. because the machine stalled
LATE_S = 10.0  # an echo without a reply after this time is lost
SLOWNESS = float(os.environ.get("NETORCH_SLOWNESS", "1"))  # factor on all timeouts; scripts/test --stock sets it


def wait_for(condition: Callable[[], T], what: str, timeout_s: float = PATIENCE_S, *, rest: float = 2.0) -> T:
    """Return the condition's first true value. Fails with `what` after the timeout, which SLOWNESS multiplies.

    A slow condition is evaluated less often, because the awaited work needs the same processor: the pause is `rest` times the
    condition's own time, up to 0.2 s. A test that measures time passes 0.0.
    """
    timeout_s *= SLOWNESS
    end = time.monotonic() + timeout_s
    while True:
        asked = time.monotonic()
        value = condition()
        if value:
            return value
        now = time.monotonic()
        if now > end:
            raise AssertionError(f"waited {timeout_s} s in vain for {what}; last value {value!r}")
        time.sleep(min(max(rest * (now - asked), 0.01), 0.2))


class Traffic:
    """A thread that sends echoes every few milliseconds between two namespaces until stopped."""

    def __init__(self, source_netns: str, destination: str, interval_s: float = 0.005) -> None:
        self._pinger = Pinger(source_netns, destination)
        self._interval_s = interval_s
        self._stopping = False
        self.sent = 0
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping:
            self.sent += 1
            self._pinger.send(self.sent)
            time.sleep(self._interval_s)
            self._pinger.receive()

    def stop(self) -> int:
        """Stop, and return how many echoes were lost."""
        self._stopping = True
        self._thread.join()
        end = time.monotonic() + LATE_S
        while time.monotonic() < end and self.lost():
            self._pinger.receive()
            time.sleep(0.01)
        lost = self.lost()
        self._pinger.close()
        assert self.sent < 65535
        return lost

    def lost(self) -> int:
        """Return how many echoes have no reply yet."""
        return sum(not self._pinger.answer(sequence).ok for sequence in range(1, self.sent + 1))


class World:
    """The hosts, the store and the agents; `close` removes all of it."""

    def __init__(
        self,
        directory: Path,
        host_names: Sequence[str] = ("hv1", "hv2", "hv3"),
        mtu: int = UNDERLAY_MTU,
        *,
        serves: bool = False,
        store: Store | None = None,
    ) -> None:
        """Make hosts without agents; `serves`: real daemons serve their instances; `store`: instead of the file."""
        self.directory = directory
        if not serves:
            remembered.remember(host_names)
        self.store_path = directory / "store" / "netorch.db"  # in its own directory, which a test may remove
        self.store_path.parent.mkdir()
        self.store = store or open_store(str(self.store_path), create=True)
        self.caller = Caller(owner="default", operator=True)
        self.agents: dict[str, AgentThread | AgentProcess] = {}
        self._readers: dict[str, LinuxKernel] = {}
        self.hosts = {name: Host(name, number) for number, name in enumerate(host_names, 1)}
        self._spine = netns.make("spine")
        self._cable(mtu)
        for host in self.hosts.values():
            create_host(self.store, self.caller, name=host.name, underlay=host.vtep)

    def _cable(self, mtu: int) -> None:
        with netns.inside(self._spine):
            Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
            spine = IPRoute()
        with spine:
            for host in self.hosts.values():
                self._cable_host(spine, host, mtu)

    def _cable_host(self, spine: IPRoute, host: Host, mtu: int) -> None:
        port = f"to-{host.name}"
        spine.link("add", ifname=port, kind="veth", mtu=mtu, peer={"ifname": "eth0", "net_ns_fd": host.name, "mtu": mtu})
        index = spine.link_lookup(ifname=port)[0]
        spine.addr("add", index=index, address="198.18.0.1", prefixlen=32)
        spine.link("set", index=index, state="up")
        spine.route("add", dst=f"{host.vtep}/32", oif=index, scope=253)
        with host.rtnl() as ipr:
            eth0 = ipr.link_lookup(ifname="eth0")[0]
            ipr.link("set", index=ipr.link_lookup(ifname="lo")[0], state="up")
            ipr.addr("add", index=eth0, address=host.vtep, prefixlen=32)
            ipr.link("set", index=eth0, state="up")
            ipr.route("add", dst="198.18.0.1/32", oif=eth0, scope=253)
            ipr.route("add", dst="default", gateway="198.18.0.1", oif=eth0)

    # --- agents and customers ------------------------------------------------------------------------------------------------

    def start_agents(self, *names: str) -> None:
        """Start the agents of these hosts, or of all hosts, in threads."""
        for name in names or self.hosts:
            self.agents[name] = AgentThread(self.hosts[name], self.store_path, self.directory)

    def start_process(self, name: str) -> AgentProcess:
        """Start one host's agent as a process."""
        agent = AgentProcess(self.hosts[name], self.store_path, self.directory)
        self.agents[name] = agent
        return agent

    def agent(self, name: str) -> AttentiveAgent:
        """Return the agent of a host, which must run as a thread."""
        thread = self.agents[name]
        assert isinstance(thread, AgentThread)
        thread.check()
        return thread.agent

    def stop_agent(self, name: str) -> None:
        """Stop one host's agent; the kernel keeps everything."""
        self.agents.pop(name).stop()

    def apply(self, text: str, *, wait: bool = True) -> None:
        """Apply a vpc.yaml and wait until every interface is attached."""
        apply_cloud(self.store, plan_cloud(self.store, self.caller, load_cloud("vpc.yaml", text)))
        if wait:
            self.wait_attached()

    def inventory(self) -> Inventory:
        """Return what is in the store."""
        return read_inventory(self.store)

    def wait_attached(self) -> None:
        """Wait until every interface is attached at the host of its mapping, and no move is under way."""
        wait_for(self._all_attached, "all interfaces attached")

    def settle(self) -> None:
        """Wait until every agent has acted on what the store holds now; all agents must be threads."""
        revision = self.store.revision()
        for name, thread in self.agents.items():
            assert isinstance(thread, AgentThread)
            thread.check()
            wait_for(partial(thread.agent.has_done, revision), f"the agent of {name} to act on revision {revision}")

    def _all_attached(self) -> bool:
        for agent in self.agents.values():
            if isinstance(agent, AgentThread):
                agent.check()
        inventory = self.inventory()
        for records in inventory.vpcs.values():
            for mapping in (stored.record for stored in records.mappings.values()):
                status = inventory.eni_status.get((mapping.host, mapping.eni))
                if mapping.move is not None or status is None or status.state is not EniState.ATTACHED:
                    return False
        return True

    def vpc(self, name: str) -> VpcRecords:
        """Return the records of a VPC by name."""
        records, _ = resolve(self.inventory(), self.caller, "vpc", name)
        return records

    def instance(self, name: str) -> Instance:
        """Return an instance by `vpc/name`."""
        found = resolve(self.inventory(), self.caller, "i", name)[1]
        assert isinstance(found, Instance)
        return found

    def eni(self, name: str) -> NetworkInterface:
        """Return the interface of an instance by `vpc/name`."""
        found = resolve(self.inventory(), self.caller, "eni", name)[1]
        assert isinstance(found, NetworkInterface)
        return found

    def mapping(self, name: str) -> Mapping:
        """Return the mapping of an instance's IPv4 address."""
        records, eni = resolve(self.inventory(), self.caller, "eni", name)
        return records.mappings[eni.address].record

    def port(self, name: str) -> str:
        """Return the name of an instance's port device."""
        return port_name(self.eni(name).id)

    # --- packets -------------------------------------------------------------------------------------------------------------

    def reaches(self, source: str, destination: str, *, version: int = 4, tries: int = 3) -> bool:
        """Return whether an instance answers an echo from another one."""
        eni = self.eni(destination)
        address = eni.address if version == 4 else eni.ipv6_address
        return ask([Probe(netns=self.instance(source).id, destination=address)], 1.0, tries)[0].ok

    def counters(self, host: str) -> dict[str, int]:
        """Return a host's counters of dropped packets, read without its agent."""
        return self.reader(host).counters()

    def reader(self, host: str) -> LinuxKernel:
        """Return a kernel object of a host beside that of its agent."""
        if host not in self._readers:
            with netns.inside(self.hosts[host].fd):
                self._readers[host] = LinuxKernel(host)
        return self._readers[host]

    def traffic(self, source: str, destination: str, interval_s: float = 0.005) -> Traffic:
        """Start a stream of echoes from one instance to another."""
        return Traffic(self.instance(source).id, self.eni(destination).address, interval_s)

    def close(self) -> None:
        """Stop everything and remove the namespaces."""
        errors = []
        for agent in self.agents.values():
            try:
                agent.stop()
            except AssertionError as error:
                errors.append(error)
        for reader in self._readers.values():
            reader.close()
        for path in netns.RUN_NETNS.glob("i-*"):
            netns.remove(path.name)
        for host in self.hosts.values():
            end_services(host.name)
            remembered.forget([host.name])
            netns.remove(host.overlay)
            netns.remove(host.name)
            os.close(host.fd)
        netns.remove("spine")
        os.close(self._spine)
        self.store.close()
        if errors:
            raise errors[0]
