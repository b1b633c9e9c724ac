"""An edge's overlay with the VRFs of two VPCs, and customers' routers on its devices: each a bird in its own namespace.

The devices are veth pairs with the names of tunnels and VLANs: bird looks only at their names.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from netorch.drivers import netns
from netorch.drivers.base import CustomerSession, KernelEvent
from netorch.drivers.bird.control import BirdError, Control
from netorch.drivers.bird.driver import customers_directory
from netorch.drivers.daemons.sealing import EdgeKey
from netorch.drivers.linux import LinuxKernel
from netorch.model.outside.secrets import Secret, seal
from netorch.model.status import ESTABLISHED
from netorch.state.base import KernelObject
from netorch.state.daemons.bgp import CustomerPeer
from netorch.state.l3 import UNREACHABLE, UNREACHABLE_METRIC, Route
from netorch.state.link import AdminUp, Vrf
from netorch.state.names import VPN_GATEWAY_NUMBER, vrf_name, vrf_table
from netorch.state.op import Create, Op
from netorch.state.owner import overlay_netns
from tests.integration.edges.border import established_since
from tests.rig.hosts import host
from tests.rig.world import wait_for

HOST: Final = "ebgp"
A, B = 5000, 5001
RANGES: Final = {A: ("10.0.0.0/16",), B: ("10.0.0.0/16", "10.7.0.0/16")}  # of each VPC
EDGE_ASN, CUSTOMER_ASN = 64512, 65001
DX, VPN = 1000, 3000  # metrics


def table_of(vni: int) -> int:
    """Return the routing table of a VPC's virtual private gateway."""
    return vrf_table(vni, VPN_GATEWAY_NUMBER)


class Edge:
    """The kernel of an edge."""

    def __init__(self, kernel: LinuxKernel, key: EdgeKey) -> None:
        self.kernel = kernel
        self._key = key
        self.apply(*(Create(obj) for vni in RANGES for obj in _vrfs(vni)))

    def apply(self, *ops: Op) -> None:
        """Carry out operations. Fails when one fails."""
        assert [str(failure.error) for failure in self.kernel.apply(ops)] == []

    def add(self, *peers: CustomerPeer) -> None:
        """Start sessions."""
        self.apply(*map(Create, peers))

    def state(self, peer: CustomerPeer) -> CustomerSession:
        """Return the state of a session."""
        return self.kernel.customer_sessions()[peer.name]

    def wait_for(self, *peers: CustomerPeer) -> None:
        """Wait until sessions are established."""
        for peer in peers:
            wait_for(lambda: self.state(peer).state == ESTABLISHED, f"{peer.name}")  # noqa: B023 - called before the next turn

    def learned(self, vni: int) -> dict[str, tuple[int, str]]:
        """Return metric and device of each prefix that a VPC has learned."""
        return {route.prefix: (route.metric, route.ifname) for route in self.kernel.learned(table_of(vni))}

    def way(self, vni: int, address: str) -> str:
        """Return the device to which Linux forwards packets from the virtual private gateway, or Linux's error."""
        vrf = vrf_name(vni, VPN_GATEWAY_NUMBER)
        done = ip(f"route get {address} vrf {vrf}", check=False)
        return done.partition(" dev ")[2].partition(" ")[0]

    def peers(self) -> set[KernelObject]:
        """Return the sessions."""
        return {obj for obj in self.kernel.dump().values() if isinstance(obj, CustomerPeer)}

    def seal(self, md5: str) -> str:
        """Seal the key of a session."""
        return seal(self._key.public, Secret(md5=md5))

    def pid(self) -> int:
        """Return the process ID of bird."""
        with Control(customers_directory(HOST) / "bird.ctl", 5.0) as control:
            return control.pid()

    def since(self, peer: CustomerPeer) -> float:
        """Return the time at which a session was established: the time of day, in seconds."""
        return established_since(lambda: self._protocols(peer))

    def events(self) -> list[KernelEvent]:
        """Return the events so far."""
        return self.kernel.events()

    @staticmethod
    def _protocols(peer: CustomerPeer) -> str:
        with Control(customers_directory(HOST) / "bird.ctl", 5.0) as control:
            control.greet()
            return "\n".join(control.ask(f"show protocols customer_{peer.name}"))


def edges(directory: Path) -> Iterator[Edge]:
    """Yield an edge without sessions."""
    key = EdgeKey(directory / "edge.key")
    with host(HOST, key) as kernel:
        yield Edge(kernel, key)


class Customer:
    """A customer's router, 169.254.X.2, on a device of the edge in a VPC's VRF; X is 10 unless a VPC has several."""

    def __init__(self, device: str, vni: int, directory: Path, *, net: int = 10, bfd: bool = False, password: str = "") -> None:
        self.device, self.vni, self.bfd = device, vni, bfd
        self.near, self.far = f"169.254.{net}.1", f"169.254.{net}.2"
        self._name = f"c-{device}"
        self._file, self._socket = directory / f"{self._name}.conf", directory / f"{self._name}.ctl"
        self._password = password
        self._net = net
        self._process: subprocess.Popen[bytes] | None = None
        os.close(netns.make(self._name))
        lines = (
            f"link add {device} type veth peer name eth0 netns {self._name}",
            f"link set {device} master {vrf_name(vni)} up",
            f"addr add {self.near}/30 dev {device}",
        )
        ip(*lines)
        ip("link set lo up", f"addr add {self.far}/30 dev eth0", "link set eth0 up", where=self._name)

    def peer(self, name: str, metric: int = VPN, secret: str = "", limit: int = 100) -> CustomerPeer:
        """Return the edge's end of the session."""
        return CustomerPeer(
            vni=self.vni,
            name=name,
            ifname=self.device,
            vrf=vrf_name(self.vni),
            table=table_of(self.vni),
            metric=metric,
            local=self.near,
            local_asn=EDGE_ASN,
            remote=self.far,
            remote_asn=CUSTOMER_ASN,
            announces=RANGES[self.vni],
            refuses=RANGES[self.vni],
            limit=limit,
            bfd=self.bfd,
            secret=secret,
        )

    def announce(self, *prefixes: str, prepend: int = 0, through: int = CUSTOMER_ASN) -> None:
        """Announce exactly these prefixes, with the AS number `through` prepended `prepend` times to the AS path."""
        self._file.write_text(self._text(prefixes, f"bgp_path.prepend({through}); " * prepend))
        if self._process is not None:
            self.ask("configure")
            return
        command = ["ip", "netns", "exec", self._name, "bird", "-f", "-c", str(self._file), "-s", str(self._socket)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(self._answers, f"the bird of {self._name}")

    def ask(self, command: str) -> list[str]:
        """Return bird's reply."""
        with Control(self._socket, 5.0) as control:
            control.greet()
            return control.ask(command)

    def told(self) -> set[str]:
        """Return the prefixes that the edge announces to the router."""
        lines = self.ask("show route protocol edge")
        return {line.split()[0] for line in lines if "/" in line.partition(" ")[0]}

    def since(self) -> float:
        """Return the time at which the session was established: the time of day, in seconds."""
        return established_since(lambda: "\n".join(self.ask("show protocols edge")))

    def signal(self, number: signal.Signals) -> None:
        """Send bird a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self) -> None:
        """End bird and remove the namespace, and with it the device."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        netns.remove(self._name)

    def _text(self, prefixes: tuple[str, ...], longer: str) -> str:
        password = f'password "{self._password}"; ' if self._password else ""
        bfd = "bfd on; " if self.bfd else ""
        timers = "hold time 30; connect delay time 1; connect retry time 2; error wait time 1, 2;"
        return "\n".join(
            [
                f"router id 192.168.255.{self._net};",
                "protocol device { }",
                'protocol bfd { accept ipv4 direct; interface "*" { interval 2 s; }; }',  # patient with a slow machine
                "protocol static { ipv4;",
                *(f"  route {prefix} unreachable;" for prefix in prefixes),
                "}",
                f"protocol bgp edge {{ local {self.far} as {CUSTOMER_ASN}; neighbor {self.near} as {EDGE_ASN}; {timers}",
                f"  {password}{bfd}ipv4 {{ import all;",
                f"  export filter {{ if source != RTS_STATIC then reject; {longer}accept; }}; }};",
                "}",
            ]
        )

    def _answers(self) -> bool:
        try:
            return "up" in "".join(self.ask("show status"))
        except BirdError:
            return False


class Customers:
    """The customers of a test, which end with it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._all: list[Customer] = []

    def make(
        self, device: str, vni: int, *prefixes: str, net: int = 10, bfd: bool = False, password: str = "", prepend: int = 0
    ) -> Customer:
        """Return a customer's router that announces prefixes."""
        customer = Customer(device, vni, self._directory, net=net, bfd=bfd, password=password)
        self._all.append(customer)
        customer.announce(*prefixes, prepend=prepend)
        return customer

    def stop(self) -> None:
        """Stop all routers."""
        for customer in self._all:
            with suppress(OSError):
                customer.stop()


def ip(*commands: str, where: str = overlay_netns(HOST), check: bool = True) -> str:
    """Run ip commands in a namespace (default: the overlay), and return their output."""
    done = subprocess.run(
        ["ip", "-n", where, "-batch", "-"], input="\n".join(commands), text=True, check=check, capture_output=True
    )
    return done.stdout


def _vrfs(vni: int) -> list[KernelObject]:
    named = [(vrf_name(vni, number), vrf_table(vni, number)) for number in (0, VPN_GATEWAY_NUMBER)]
    return [
        *(Vrf(vni=vni, ifname=ifname, table=table) for ifname, table in named),
        *(AdminUp(vni=vni, ifname=ifname) for ifname, _ in named),
        *(Route(vni=vni, table=table, dst="0.0.0.0/0", type=UNREACHABLE, metric=UNREACHABLE_METRIC) for _, table in named),
    ]
