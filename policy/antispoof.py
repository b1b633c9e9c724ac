"""Anti-spoofing: a port sends from its interface's own MAC and addresses, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from netorch.compiler.base import HostView, LocalEni, VpcView, link_local
from netorch.model.eni import NetworkInterface
from netorch.model.ids import port_name
from netorch.model.mapping import Mapping
from netorch.state.base import KernelObject
from policy import nftgen

UNSPECIFIED: Final = "::"  # the source of a duplicate address detection; the kernel never forwards it, nor a link-local address


class AntiSpoof:
    """Yields the fabric's tables, and the addresses of every interface that is or will be here."""

    name: Final = "antispoof"
    reads: Final[frozenset[type]] = frozenset({NetworkInterface})

    def host(self, view: HostView, /) -> Iterator[KernelObject]:
        """Yield the tables, which let no port send as long as there are no interfaces."""
        return iter(nftgen.fabric_tables())

    def vpc(self, view: VpcView, /) -> Iterator[KernelObject]:
        """Yield the interfaces' addresses, in every phase: an arriving port must not wait for its policy."""
        for item in view.local:
            yield from _addresses(view, item)

    def mapping(self, view: VpcView, mapping: Mapping, /) -> Iterator[KernelObject]:
        """Yield nothing."""
        return iter(())


def _addresses(view: VpcView, item: LocalEni) -> Iterator[KernelObject]:
    eni = item.eni
    ifname = port_name(eni.id)
    yield nftgen.source(ifname, eni.mac, eni.address, view.vni)
    yield nftgen.arp_source(ifname, eni.mac, eni.address, view.vni)
    if view.dual_stack and eni.ipv6_address:
        for address in (eni.ipv6_address, link_local(eni.mac), UNSPECIFIED):
            yield nftgen.source(ifname, eni.mac, address, view.vni)
