"""The servers for names that belong to no VPC. These files of the host name them:

    /etc/resolv.conf        `nameserver ADDRESS`: for all names that are not withheld. Source: resolv.conf(5)
    /run/systemd/resolve/resolv.conf    the same, if /etc/resolv.conf names only this host: systemd-resolved then asks the
                            servers in this file. Source: systemd-resolved.service(8)
    /etc/netorch/forward    `DOMAIN ADDRESS ...`: for the names of a domain; `.` stands for all names

A server of /etc/resolv.conf on the host itself (127.0.0.53) is skipped: its answers are meant for the host only.
All files are read again within seconds after a change. An invalid line is logged and ignored.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, TypeVar

import dns.exception

from netorch.services.names.labels import Labels, labels_of
from netorch.services.names.withheld import ROOT

log = logging.getLogger(__name__)

RESOLV_CONF: Final = Path("/etc/resolv.conf")
RESOLVED_CONF: Final = Path("/run/systemd/resolve/resolv.conf")
FORWARD: Final = Path("/etc/netorch/forward")
LOOK_EVERY_S: Final = 2.0

T = TypeVar("T")
Servers = Mapping[Labels, tuple[str, ...]]


class Others:
    """The files that name the servers."""

    def __init__(self, resolv_conf: Path = RESOLV_CONF, forward: Path = FORWARD, resolved_conf: Path = RESOLVED_CONF) -> None:
        self._files = (resolv_conf, forward, resolved_conf)
        self._stamps: list[tuple[int, ...]] | None = None

    def changed(self) -> Servers | None:
        """Return the servers for each domain, or None if the files have not changed."""
        stamps = [_stamp(path) for path in self._files]
        if stamps == self._stamps:
            return None
        self._stamps = stamps
        resolv_conf, forward, resolved_conf = self._files
        found = dict(_lines(forward, _forward))
        servers = tuple(_lines(resolv_conf, _nameserver))
        others = tuple(server for server in servers if not _is_own(server))
        if servers and not others:  # resolv.conf names only this host
            others = tuple(server for server in _lines(resolved_conf, _nameserver) if not _is_own(server))
            if not others and ROOT not in found:
                log.warning(
                    "%s: a DNS server on this host itself is not used; name another in %s: `. ADDRESS`", resolv_conf, FORWARD
                )
        if others:
            found.setdefault(ROOT, others)
        return found


def _is_own(server: str) -> bool:
    """Return whether a server is the host itself, which answers names that only the host may know, e.g. of /etc/hosts."""
    address = ipaddress.ip_address(server)
    plain = getattr(address, "ipv4_mapped", None) or address
    return bool(plain.is_loopback or plain.is_unspecified)  # the latter reaches the loopback, too


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _lines(path: Path, read: Callable[[list[str]], T | None]) -> Iterator[T]:
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        try:
            found = read(words) if words else None
        except (ValueError, dns.exception.DNSException) as error:
            log.warning("%s: %s: %s", path, line, error)
            continue
        if found is not None:
            yield found


def _nameserver(words: list[str]) -> str | None:
    if words[0] != "nameserver" or len(words) < 2:
        return None
    return str(ipaddress.ip_address(words[1]))


def _forward(words: list[str]) -> tuple[Labels, tuple[str, ...]]:
    if len(words) < 2:
        raise ValueError("no address after the domain")
    return labels_of(words[0]), tuple(str(ipaddress.ip_address(word)) for word in words[1:])
