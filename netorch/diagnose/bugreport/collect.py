"""Collects a report: this machine, its kernel and its agent, and the store's records of the host and its VPCs.

A piece that cannot be collected becomes a line in `missing.txt` and does not end the report: reports are made when
something is broken. No piece can contain a plaintext key: keys of tunnels are sealed, and neither they, nor
configurations of bird and charon, nor SAs are collected. Other texts that look like secrets are hidden as well
(`redact.py`).
"""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from netorch import __version__
from netorch.control.actions.repair import damaged
from netorch.control.history.read import read_history
from netorch.control.views.health import read_health
from netorch.diagnose.bugreport.redact import redacted
from netorch.errors import NetorchError
from netorch.model.ids import vni_of
from netorch.records import keys
from netorch.state.owner import overlay_netns
from netorch.store.base import Store

MOST_BYTES: Final = 16 << 20  # of one piece
MOST_VPCS: Final = 100  # with collected records
COMMAND_S: Final = 30.0
CHANGES: Final = 200
_FILES: Final = ("/etc/os-release", "/proc/cmdline", "/proc/sys/kernel/tainted", "/proc/loadavg", "/proc/meminfo")

Piece = tuple[str, Callable[[], str]]


def pieces(host: str, settings: Mapping[str, str], open_store: Callable[[], Store]) -> Iterator[Piece]:
    """Yield the pieces of a report: each name, and a function that returns the text."""
    yield "netorch.txt", lambda: f"netorch {__version__}\n" + "".join(f"{name} = {value}\n" for name, value in settings.items())
    for path in _FILES:
        yield f"machine{path}", Path(path).read_text
    for name, command in _commands(overlay_netns(host)).items():
        yield name, partial(_output, command)
    yield "store/status.json", lambda: _json(read_health(open_store(), time.time()))
    yield "store/history.json", lambda: _json(read_history(open_store(), None, CHANGES))
    yield "store/damaged.json", lambda: _json({key: (at, error.what) for key, (at, error) in damaged(open_store()).items()})
    yield "store/records.txt", lambda: _records(open_store(), host)


def write(target: Path, folder: str, found: Iterator[Piece]) -> list[str]:
    """Write a report that only its owner can read. Return the list of missing pieces. Raises OSError."""
    missing: list[str] = []
    with open(target, "xb", opener=_private) as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, make in found:
            try:
                text = make()
            except (NetorchError, OSError, ValueError, subprocess.SubprocessError) as error:
                missing.append(f"{name}: {error}")
                continue
            _add(archive, f"{folder}/{name}", text)
        _add(archive, f"{folder}/missing.txt", "".join(f"{line}\n" for line in missing))
    return missing


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def _add(archive: tarfile.TarFile, name: str, text: str) -> None:
    body = redacted(text)[-MOST_BYTES:].encode(errors="backslashreplace")  # the end of a log matters most
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = len(body), 0o600, int(time.time())
    archive.addfile(member, io.BytesIO(body))


def _commands(overlay: str) -> dict[str, list[str]]:
    """Return the commands for kernel and logs, by the name of the piece. `ip xfrm state` would show keys."""
    found = {
        "machine/uname": ["uname", "-a"],
        "machine/modules": ["lsmod"],
        "machine/processes": ["ps", "-eo", "pid,ppid,user,etime,rss,stat,comm"],
        "underlay/nft": ["nft", "list", "table", "ip", "netorch"],
        "overlay/nft": ["ip", "netns", "exec", overlay, "nft", "list", "ruleset"],
        "overlay/fdb": ["bridge", "-n", overlay, "fdb"],
        "overlay/rules": ["ip", "-n", overlay, "rule"],
        "namespaces": ["ip", "netns"],
        "agent.log": [
            "journalctl",
            "--no-pager",
            "--lines",
            "5000",
            "-o",
            "short-iso",
            "-u",
            "netorch-agent",
            "-u",
            "netorch-restore",
        ],
    }
    for name, options in {"underlay": [], "overlay": ["-n", overlay]}.items():
        found[f"{name}/links"] = ["ip", *options, "-d", "-s", "link"]
        found[f"{name}/addresses"] = ["ip", *options, "address"]
        found[f"{name}/routes"] = ["ip", *options, "route", "show", "table", "all"]
        found[f"{name}/routes6"] = ["ip", *options, "-6", "route", "show", "table", "all"]
        found[f"{name}/neighbours"] = ["ip", *options, "neighbour"]
    return found


def _output(command: list[str]) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, errors="replace", timeout=COMMAND_S, stdin=subprocess.DEVNULL, check=False
    )
    if done.returncode:
        raise ValueError(f"{' '.join(command)}: {done.stderr.strip() or f'exit status {done.returncode}'}")
    return done.stdout


def _json(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value)).decode()


def _records(store: Store, host: str) -> str:
    """Return the records of a host and of its VPCs, one per line: revision, key, value."""
    own = [kv.key.rpartition("/")[2] for kv in store.list(keys.placement(host, "")).kvs]
    vnis = sorted({vni_of(resource_id) for resource_id in own if "-" in resource_id})[:MOST_VPCS]
    prefixes = ["host/", f"hoststat/{host}/", keys.mtu_prefix(), keys.pool_prefix()]
    prefixes += [prefix for vni in vnis for prefix in (keys.vpc_prefix(vni), keys.map_prefix(vni))]
    found = (kv for prefix in prefixes for kv in store.list(prefix).kvs)
    return "".join(f"{kv.mod_revision} {kv.key} {kv.value.decode(errors='backslashreplace')}\n" for kv in found)
