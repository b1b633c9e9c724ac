"""charon's SAs, parsed from its answers, and the tunnel status that they imply; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from netorch.drivers.charon.control import Section, sections, text
from netorch.model.status import INSTALLED, TunnelStatus

ESTABLISHED = "ESTABLISHED"
CONNECTING = "CONNECTING"
_LASTING = (INSTALLED, "REKEYING", "UPDATING", "REKEYED")  # carrying packets; those after INSTALLED only for a moment
_IKE_PORT = "500"


class ChildSa(msgspec.Struct, frozen=True, kw_only=True):
    """A CHILD_SA: two kernel SAs, one for each direction."""

    id: str
    name: str  # of the configuration that made it
    state: str
    spi_in: int
    spi_out: int
    proposal: str
    bytes_in: int
    bytes_out: int
    packets_in: int
    packets_out: int

    @property
    def carries(self) -> bool:
        """Return whether the CHILD_SA carries packets."""
        return self.state in _LASTING


class IkeSa(msgspec.Struct, frozen=True, kw_only=True):
    """An IKE_SA with its CHILD_SAs."""

    id: str
    name: str  # of the connection
    state: str
    remote: str  # the address, with the port unless it is IKE's
    age: int  # seconds since it was established
    children: tuple[ChildSa, ...]


def ike_sas(answers: Iterable[Section]) -> Iterator[IkeSa]:
    """Yield the IKE_SAs in the answers to `list-sas`."""
    for answer in answers:
        for name, found in sections(answer).items():
            address, port = text(found, "remote-host"), text(found, "remote-port")
            yield IkeSa(
                id=text(found, "uniqueid"),
                name=name,
                state=text(found, "state"),
                remote=address if port in ("", _IKE_PORT) else f"{address}:{port}",
                age=_number(found, "established"),
                children=tuple(_child(child) for child in sections(found, "child-sas").values()),
            )


def best(sas: Iterable[IkeSa]) -> IkeSa | None:
    """Return the IKE_SA for a tunnel's status: one that carries packets, else an established one; of several the youngest."""
    return max(sas, key=_says, default=None)


def _says(sa: IkeSa) -> tuple[bool, bool, int]:
    return any(child.carries for child in sa.children), sa.state == ESTABLISHED, int(sa.id)


def best_child(sas: Iterable[IkeSa]) -> ChildSa | None:
    """Return the CHILD_SA that outgoing packets use: the youngest installed one."""
    children = (child for sa in sas for child in sa.children)
    return max(children, key=lambda child: (child.state == INSTALLED, child.carries, int(child.id)), default=None)


def status_of(sas: Iterable[IkeSa]) -> TunnelStatus:
    """Return the status of a tunnel with these SAs, without facts that need more than one answer of charon."""
    found = tuple(sas)
    ike, child = best(found), best_child(found)
    if ike is None:
        return TunnelStatus()
    status = TunnelStatus(ike=ike.state, remote=ike.remote)
    if child is None:
        return status
    # Rekeying does not change the status: packets are carried as before.
    return msgspec.structs.replace(status, child=INSTALLED if child.carries else child.state, proposal=child.proposal)


def _child(found: Section) -> ChildSa:
    words = [text(found, "encr-alg"), text(found, "encr-keysize")]
    encryption = "-".join(filter(None, words))
    return ChildSa(
        id=text(found, "uniqueid") or "0",
        name=text(found, "name"),
        state=text(found, "state"),
        spi_in=int(text(found, "spi-in") or "0", 16),
        spi_out=int(text(found, "spi-out") or "0", 16),
        proposal="/".join(filter(None, (encryption, text(found, "integ-alg"), text(found, "dh-group")))),
        bytes_in=_number(found, "bytes-in"),
        bytes_out=_number(found, "bytes-out"),
        packets_in=_number(found, "packets-in"),
        packets_out=_number(found, "packets-out"),
    )


def _number(found: Section, name: str) -> int:
    return int(text(found, name) or "0")
