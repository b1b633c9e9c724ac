"""An edge with a real charon, and customers' devices with their own charons, in namespaces on one network.

vpc (stands for the overlay: 10.1.0.1)      edge: outside 198.18.0.21 ---+--- customer 198.18.0.80: 192.168.1.1
  x-... [xfrm, made in the outside] - - - - - - - - SAs - - - - - - - - -+- - - - tunnel0 [xfrm]
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import msgspec

from netorch.drivers import netns
from netorch.drivers.charon.control import CharonError, Control, Section
from netorch.drivers.charon.daemon import Daemon
from netorch.drivers.charon.driver import RUN
from netorch.drivers.charon.sas import IkeSa, ike_sas
from netorch.drivers.daemons.sealing import EdgeKey
from netorch.drivers.linux import LinuxKernel
from netorch.model.outside.secrets import Secret, seal
from netorch.model.outside.vpn import if_id
from netorch.model.status import TunnelStatus
from netorch.state.base import OUTSIDE, KernelObject
from netorch.state.daemons.ike import IkeConnection
from netorch.state.link import LOOPBACK, AdminUp
from netorch.state.netns import Namespace
from netorch.state.op import Create, Op
from netorch.state.owner import netns_name
from tests.rig.hosts import host
from tests.rig.world import wait_for
from tests.unit.drivers.charon.connections import changed

EDGE, EDGE_ADDRESS = "vpn1", "198.18.0.21"
VNI = 5000
PSK = "Canary.psk_1234567890"
NET = "vpn-net"
VPC = "vpn-vpc"
IKE = ("aes256-sha256-modp2048",)
ESP = ("aes256-sha256-modp2048",)
FEW = 10  # lost echoes: the responder to IKE_AUTH installs its new SAs, and uses them, a moment before the initiator


def ip(namespace: str, *commands: str) -> str:
    """Run ip(8) commands in a namespace, all in one process."""
    words = ["ip", "-n", namespace, "-batch", "-"]
    done = subprocess.run(words, input="\n".join(commands), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip -n {namespace} {commands}: {done.stderr}"
    return done.stdout


def plug(namespace: str, ifname: str, address: str) -> None:
    """Create a device with an address on the network in a namespace."""
    port = f"p{address.replace('.', '')[-8:]}"
    ip(
        namespace,
        f"link add {ifname} type veth peer name {port} netns {NET}",
        f"addr add {address}/24 dev {ifname}",
        f"link set {ifname} up",
    )
    ip(NET, f"link set {port} master br0 up")


class Customer:
    """A customer's device: a charon in a namespace, and a network behind it."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.fd = netns.make(name)
        self.daemon = Daemon(directory / name, self.fd)
        ip(name, "link set lo up")

    def start(self) -> None:
        """Start charon."""
        self.daemon.start(1)

    def inside(self, uplink: str, address: str, number: int = 1) -> None:
        """Create the network behind the device, with an xfrm device that leads to the VPC."""
        ip(
            self.name,
            f"link add tunnel{number} type xfrm dev {uplink} if_id {number}",
            f"addr add {address}/32 dev tunnel{number}",
            f"link set tunnel{number} up mtu 1400",
            f"route add 10.0.0.0/8 dev tunnel{number}",
        )

    def load(self, connection: Section, *secrets: Section) -> None:
        """Load the connection `edge`, with a CHILD_SA `net`, into charon."""
        with self.control() as control:
            for secret in secrets:
                control.ask("load-key" if "owners" not in secret else "load-shared", secret)
            control.ask("load-conn", {"edge": connection})

    @contextmanager
    def control(self) -> Iterator[Control]:
        """Open charon's control socket."""
        with self.daemon.connected() as control:
            yield control

    def forget(self) -> None:
        """Unload everything from charon. The edge may keep its end of a tunnel a moment longer."""
        with self.control() as control:
            with suppress(CharonError):  # none exists
                control.ask("terminate", {"ike": "edge", "force": "yes"})
            with suppress(CharonError):  # none exists
                control.ask("unload-conn", {"name": "edge"})
            control.ask("clear-creds")

    def initiate(self) -> str:
        """Initiate the tunnel; return the error, or nothing."""
        with Control(self.daemon.socket, 30.0) as control:
            try:
                for _ in control.stream("initiate", "control-log", {"child": "net", "ike": "edge", "timeout": "15000"}):
                    pass
            except CharonError as error:
                return str(error)
        return ""

    def sas(self) -> list[IkeSa]:
        """Return charon's IKE_SAs."""
        with self.control() as control:
            return list(ike_sas(control.stream("list-sas", "list-sa")))

    def close(self) -> None:
        """Stop the customer."""
        self.daemon.stop()
        self.daemon.close()
        netns.remove(self.name)
        os.close(self.fd)


def customer_connection(customer: str, **options: str | list[str] | Section) -> Section:
    """Return the edge's connection as a customer's charon loads it, with these connection options."""
    child: Section = {
        "local_ts": ["0.0.0.0/0"],
        "remote_ts": ["0.0.0.0/0"],
        "esp_proposals": list(ESP),
        "if_id_in": "1",
        "if_id_out": "1",
        "start_action": "none",
        "dpd_action": "clear",
    }
    own = options.pop("child", {})
    assert isinstance(own, dict)
    return {
        "version": "2",
        "local_addrs": [customer],
        "remote_addrs": [EDGE_ADDRESS],
        "proposals": list(IKE),
        "unique": "replace",
        "mobike": "no",
        "keyingtries": "1",
        "local": {"auth": "psk", "id": customer},
        "remote": {"auth": "psk", "id": EDGE_ADDRESS},
        "children": {"net": child | own},
        **options,
    }


def psk(secret: str, *owners: str) -> Section:
    """Return the message that loads a pre-shared key."""
    return {"id": "edge", "type": "IKE", "data": secret, "owners": list(owners)}


class Edge:
    """An edge's kernel, with its charon, and a namespace that stands for the overlay."""

    def __init__(self, kernel: LinuxKernel, key: EdgeKey) -> None:
        self.kernel, self.key = kernel, key
        self.namespace = netns_name(EDGE, OUTSIDE)

    def seal(self, psk: str = PSK) -> str:
        """Return a pre-shared key sealed for this edge."""
        return seal(self.key.public, Secret(psk=psk))

    def connection(self, number: int = 1, *, remote: str = "198.18.0.80", **changes: object) -> IkeConnection:
        """Return a connection to a customer's device, for the VPN connection with that number."""
        connection = changed(
            vni=VNI,
            name=f"vpn-{VNI:06x}{number:011x}-1",
            local=EDGE_ADDRESS,
            remote=remote,
            local_identity=EDGE_ADDRESS,
            remote_identity=remote,
            proposals=IKE,
            child_proposals=ESP,
            if_id=if_id(VNI, number, 0),
            secret=self.seal(),
        )
        named = changes.get("remote_identity", remote) != remote and "certificate" not in changes
        return msgspec.structs.replace(connection, **({"version": 2} if named else {}) | changes)

    def apply(self, *ops: Op) -> None:
        """Carry out operations. Fails when one fails."""
        assert [str(failure.error) for failure in self.kernel.apply(ops)] == []

    def create(self, *objects: KernelObject) -> None:
        """Make objects."""
        self.apply(*(Create(obj) for obj in objects))

    def inside(self, connection: IkeConnection, vpc: str, address: str, to: str) -> None:
        """Create the inner end of a tunnel in a namespace that stands for a VPC."""
        ifname = f"x-{connection.if_id:x}"
        ip(
            self.namespace,
            f"link add {ifname} type xfrm dev out0 if_id {connection.if_id}",
            f"link set {ifname} netns {vpc}",
        )
        ip(
            vpc,
            f"addr replace {address}/32 dev {ifname}",
            f"link set {ifname} up mtu 1400",
            f"route add {to} dev {ifname} src {address}",
        )

    def status(self, connection: IkeConnection) -> TunnelStatus:
        """Return the status of a tunnel, after reading charon's events."""
        self.kernel.events()
        return self.kernel.tunnels()[connection.name]

    def wait_up(self, connection: IkeConnection) -> TunnelStatus:
        """Return the status once a CHILD_SA exists."""
        return self._wait_status(connection, lambda status: status.child == "INSTALLED", "a CHILD_SA")

    def wait_down(self, connection: IkeConnection) -> None:
        """Return once no SA carries packets: until then charon does not report a failed attempt to set up another tunnel."""
        wait_for(lambda: not self.status(connection).is_up, "an end of the tunnel")

    def wait_problem(self, connection: IkeConnection, word: str) -> dict[str, str]:
        """Return the facts of a problem once it is reported."""
        what = f"the problem {word}: {self.status(connection)}"
        return self._wait_status(connection, lambda status: status.problem == word, what).facts

    def _wait_status(self, connection: IkeConnection, holds: Callable[[TunnelStatus], bool], what: str) -> TunnelStatus:
        """Return the first status for which the condition holds: the next one may be another, as charon goes on trying."""

        def found() -> TunnelStatus | None:
            status = self.status(connection)
            return status if holds(status) else None

        status = wait_for(found, what)
        assert status is not None
        return status

    def pid(self) -> int:
        """Return the process ID of charon."""
        with Control(RUN / EDGE / "charon.vici", 1.0) as control:
            return control.pid()

    def runs(self, pid: int) -> bool:
        """Return whether a process runs."""
        return Path(f"/proc/{pid}").exists()

    def kernel_states(self) -> str:
        """Return Linux's SAs."""
        return ip(self.namespace, "xfrm state")

    def spis(self) -> list[str]:
        """Return the SPIs of Linux's SAs."""
        return [line.split("spi ")[1].split()[0] for line in self.kernel_states().splitlines() if "spi " in line]

    def kernel_policies(self) -> str:
        """Return Linux's policies, except those of sockets."""
        return ip(self.namespace, "xfrm policy list")


class Site:
    """An edge and its customers."""

    def __init__(self, edge: Edge, directory: Path, stack: ExitStack) -> None:
        self.edge, self.directory, self._stack = edge, directory, stack

    def customer(self, name: str = "c1", address: str = "198.18.0.80") -> Customer:
        """Return a new customer's device, on the network and with a running charon."""
        made = self.device(name)
        plug(name, "eth0", address)
        made.start()
        return made

    def device(self, name: str) -> Customer:
        """Return a new customer's device without a network, whose charon does not run."""
        made = Customer(name, self.directory)
        self._stack.callback(made.close)
        return made

    def plug_nat(self, nat: Customer, address: str) -> None:
        """Let a device masquerade packets from behind it with its own address on the network."""
        plug(nat.name, "eth0", address)
        rules = 'table ip nat { chain p { type nat hook postrouting priority 100; oifname "eth0" masquerade; }; }'
        subprocess.run(["ip", "netns", "exec", nat.name, "nft", rules], check=True)
        subprocess.run(["ip", "netns", "exec", nat.name, "sysctl", "-qw", "net.ipv4.ip_forward=1"], check=True)

    def plug_behind(self, nat: Customer, customer: Customer, address: str) -> None:
        """Put a customer's device behind another that translates addresses."""
        port, gateway = f"to-{customer.name}", f"{address.rpartition('.')[0]}.1"
        ip(customer.name, f"link add eth0 type veth peer name {port} netns {nat.name}")
        ip(nat.name, f"addr add {gateway}/24 dev {port}", f"link set {port} up")
        ip(customer.name, f"addr add {address}/24 dev eth0", "link set eth0 up", f"route add default via {gateway}")

    def joined(self, **changes: object) -> tuple[IkeConnection, Customer]:
        """Return a connection to a customer; both have inner ends, and neither has initiated."""
        customer, connection = self.customer(), msgspec.structs.replace(self.edge.connection(), **changes)
        self.edge.create(connection)
        self.edge.inside(connection, VPC, "10.1.0.1", "192.168.0.0/16")
        customer.inside("eth0", "192.168.1.1")
        return connection, customer


@contextmanager
def site(directory: Path) -> Iterator[Site]:
    """Yield an edge on a network without customers."""
    with ExitStack() as stack:
        for name in (NET, VPC):
            os.close(netns.make(name))
            stack.callback(netns.remove, name)
        ip(NET, "link add br0 type bridge", "link set br0 up")
        key = EdgeKey(directory / "key")
        edge = Edge(stack.enter_context(host(EDGE, key)), key)
        edge.create(Namespace(label=OUTSIDE), AdminUp(netns=OUTSIDE, ifname=LOOPBACK))
        plug(edge.namespace, "out0", EDGE_ADDRESS)
        yield Site(edge, directory, stack)
