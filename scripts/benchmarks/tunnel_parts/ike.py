"""Speed of setting up tunnels through the driver of charon, and their cost in charon's memory.

Both ends are real charons in separate namespaces on one processor, each driven by netorch's driver. So a tunnel costs the
processor about twice what it costs an edge.
"""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
from common import Figure, growth

from netorch.drivers import netns
from netorch.drivers.charon.control import Control
from netorch.drivers.charon.driver import Charon
from netorch.drivers.charon.xfrm import Xfrm
from netorch.drivers.daemons.sealing import EdgeKey
from netorch.model.outside.proposals import proposals
from netorch.model.outside.secrets import Secret, seal
from netorch.state.base import OUTSIDE
from netorch.state.daemons.ike import IkeConnection
from netorch.state.op import Create, Delete, Op
from tunnel_parts.records import OPTIONS, PSK, device_address

EDGE: Final = "ike-edge"
SITE: Final = "ike-site"
EDGE_ADDRESS: Final = "198.18.0.1"
PATIENCE_S: Final = 300.0
ATTEMPTS: Final = 5
LEAST_PAUSE_S: Final = 0.01
SHARE: Final = 0.02  # of the elapsed time passes between two queries to the kernel, so that queries do not count
LOOK_EVERY_S: Final = 1.0


class SetUp(msgspec.Struct, kw_only=True):
    """The measurements with one number of connections: seconds, and bytes of charon's memory."""

    connections: int
    applied: float  # until charon has all connections
    established: float  # from the devices' first order to initiate until all tunnels are installed
    loaded_rss: int
    rss: int
    removed: float


def measure(connections: int, directory: Path) -> SetUp:
    """Set up so many tunnels at once, each initiated from a device address of its own, and remove them."""
    directory.mkdir(parents=True)
    with _ends(directory) as (edge, site, xfrm, key, site_key):
        first = _pair(0, key, site_key)  # so that both charons run already
        edge.apply([Create(first[0])])
        site.apply([Create(first[1])])
        _wait_installed(edge, site, xfrm, 1)
        pairs = [_pair(number, key, site_key) for number in range(1, connections + 1)]
        before = _rss(directory / "edge")
        begin = time.perf_counter()
        _apply(edge, [Create(near) for near, _ in pairs])
        applied = time.perf_counter() - begin
        loaded = _rss(directory / "edge")
        begin = time.perf_counter()
        _apply(site, [Create(far) for _, far in pairs])
        _wait_installed(edge, site, xfrm, connections + 1)
        established = time.perf_counter() - begin
        rss = _rss(directory / "edge")
        begin = time.perf_counter()
        _apply(edge, [Delete(near) for near, _ in pairs])
        removed = time.perf_counter() - begin
        edge.stop()
        site.stop()
    return SetUp(
        connections=connections,
        applied=applied,
        established=established,
        loaded_rss=loaded - before,
        rss=rss - before,
        removed=removed,
    )


def _apply(driver: Charon, ops: list[Op]) -> None:
    """Apply operations, and failed ones again, as an agent does: charon may not answer within 2 s on a machine that stalls."""
    for _ in range(ATTEMPTS):
        failures = driver.apply(ops)
        if not failures:
            return
        print(f"  {len(failures)} of {len(ops)} operations again: {failures[0].error}", flush=True)
        ops = [failure.op for failure in failures]
    raise RuntimeError(f"tunnels: {failures[0].error}")


def _wait_installed(edge: Charon, site: Charon, xfrm: Xfrm, count: int) -> None:
    """Wait until the edge's kernel has the SAs of so many tunnels; drivers read events, and list tunnels each second."""
    begin = time.monotonic()
    ask_at = look_at = begin
    with selectors.DefaultSelector() as ready:
        for driver in (edge, site):
            ready.register(driver, selectors.EVENT_READ, driver)
        while True:
            now = time.monotonic()
            if now >= ask_at:
                if (found := len(xfrm.sas()) // 2) >= count:
                    return
                if now - begin > PATIENCE_S:
                    raise RuntimeError(f"tunnels: only {found} of {count} tunnels are up after {PATIENCE_S:.0f} s")
                ask_at = now + max(LEAST_PAUSE_S, SHARE * (now - begin))
            if now >= look_at:
                for driver in (edge, site):
                    driver.tunnels()
                look_at = time.monotonic() + LOOK_EVERY_S
            for key, _ in ready.select(max(0.0, min(ask_at, look_at) - now)):
                key.data.events()


def ike(number: int, local: str, remote: str, public: str, *, initiates: bool) -> IkeConnection:
    """Return one end of a tunnel; its secret is sealed for the key of that end."""
    return IkeConnection(
        vni=5000,
        name=f"vpn-001388{number:011x}-1",
        version=2,
        local=local,
        remote=remote,
        local_identity=local,
        remote_identity=remote,
        proposals=proposals(OPTIONS, 1),
        child_proposals=proposals(OPTIONS, 2),
        local_traffic="0.0.0.0/0",
        remote_traffic="0.0.0.0/0",
        if_id=0x138800 + number + 1,
        lifetime=OPTIONS.phase1_lifetime,
        child_lifetime=OPTIONS.phase2_lifetime,
        rekey_margin=OPTIONS.rekey_margin,
        rekey_fuzz=OPTIONS.rekey_fuzz,
        replay_window=OPTIONS.replay_window,
        dpd_delay=OPTIONS.dpd_timeout // 3,
        dpd_action=OPTIONS.dpd_action.value,
        initiates=initiates,
        secret=seal(public, Secret(psk=PSK)),
    )


def _pair(number: int, key: EdgeKey, site_key: EdgeKey) -> tuple[IkeConnection, IkeConnection]:
    far = device_address(number)
    return (
        ike(number, EDGE_ADDRESS, far, key.public, initiates=False),
        ike(number, far, EDGE_ADDRESS, site_key.public, initiates=True),
    )


def _rss(directory: Path) -> int:
    """Return the resident memory of the charon of a directory, in bytes."""
    with Control(directory / "charon.vici", 5.0) as control:
        pid = control.pid()
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def _ends(directory: Path) -> Iterator[tuple[Charon, Charon, Xfrm, EdgeKey, EdgeKey]]:
    """Yield the drivers of both ends, the edge's XFRM state, and the keys with which the drivers open secrets."""
    run = f"""
        ip netns add {EDGE}; ip netns add {SITE}
        ip -n {EDGE} link set lo up; ip -n {SITE} link set lo up
        ip link add eth0 netns {EDGE} type veth peer eth0 netns {SITE}
        ip -n {EDGE} address add {EDGE_ADDRESS}/24 dev eth0; ip -n {EDGE} link set eth0 up
        ip -n {SITE} address add 198.18.0.2/24 dev eth0; ip -n {SITE} link set eth0 up
        ip -n {EDGE} route add 198.19.0.0/16 via 198.18.0.2
    """
    subprocess.run(["sh", "-ec", run], check=True)
    addresses = "\n".join(f"address add {device_address(number)}/32 dev lo" for number in range(1_001))
    subprocess.run(["ip", "-n", SITE, "-batch", "-"], input=addresses, text=True, check=True)
    descriptors = [netns.find(name) for name in (EDGE, SITE)]
    found = [EdgeKey(directory / f"{name}.key") for name in ("edge", "site")]
    edge, site = (
        Charon(OUTSIDE, descriptor, directory / name, key)
        for descriptor, name, key in zip(descriptors, ("edge", "site"), found, strict=True)
    )
    yield edge, site, Xfrm(descriptors[0]), found[0], found[1]
    for driver in (edge, site):
        driver.close()
    for descriptor in descriptors:
        os.close(descriptor)
    for name in (EDGE, SITE):
        netns.remove(name)


def figures(found: SetUp) -> list[Figure]:
    """Return the figures for one number of connections."""
    count = found.connections
    return [
        Figure(name="objects applied", value=count / found.applied, unit="/s", digits=0, note=f"{found.applied:.2f} s"),
        Figure(name="tunnels set up", value=count / found.established, unit="/s", digits=1, note=f"{found.established:.2f} s"),
        Figure(name="objects removed", value=count / found.removed, unit="/s", digits=0, note=f"{found.removed:.2f} s"),
        Figure(name="charon's memory a connection, loaded", value=found.loaded_rss / count / 1024, unit="KiB", digits=1),
        Figure(name="charon's memory a tunnel that is up", value=found.rss / count / 1024, unit="KiB", digits=1),
    ]


def growth_figures(found: list[SetUp]) -> list[Figure]:
    """Return how times grow from the first number of connections to the last; 1 is linear."""
    sizes = [one.connections for one in found]
    costs = {
        "objects applied": [one.applied for one in found],
        "tunnels set up": [one.established for one in found],
        "objects removed": [one.removed for one in found],
    }
    more = (found[-1].rss - found[0].rss) / (sizes[-1] - sizes[0]) / 1024
    return [
        *(
            Figure(name=name, value=growth(sizes, each), unit="exponent", goal=1.1, note=", ".join(f"{s:.2f} s" for s in each))
            for name, each in costs.items()
        ),
        Figure(name="charon's memory of each more tunnel", value=more, unit="KiB", digits=1),
    ]
