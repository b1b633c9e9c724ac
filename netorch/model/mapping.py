"""The mapping: (VNI, virtual address) -> host. The overlay's central table, stored at `map/<vni>/<address>`.

Three more kinds describe gateways and external networks:

    (VNI, gateway) -> edges                     GatewayMapping   `map/<vni>/<gateway id>`
    (VNI, public address) -> private address    PublicMapping    `map/<vni>/eip/<public address>`
    (VNI, gateway, edge) -> prefixes            Reach            `map/<vni>/reach/<gateway id>/<edge>`

A mapping's generation is the store's mod_revision; there is no separate counter. A moving address names two hosts:

    settled at A          {host: A}
    moving to B           {host: A, move: to B}     peers accept both hosts, A prepares to relay, B prepares the port
    moved, A still relays {host: B, move: from A}   peers send to B; A relays packets that still reach A, for a grace period
    settled at B          {host: B}
"""

from __future__ import annotations

from enum import Enum

from netorch.model.record import Part, Record


class MoveDirection(Enum):
    """Whether the other host of a move is the next host or the previous host."""

    TO = "to"
    FROM = "from"


class Move(Part, frozen=True, kw_only=True, omit_defaults=True):
    """The other host of a moving address."""

    direction: MoveDirection
    host: str
    vtep: str


class Mapping(Record, frozen=True, kw_only=True, omit_defaults=True):
    """The host of a VPC's address."""

    vni: int
    address: str  # canonical
    eni: str
    mac: str
    host: str
    vtep: str  # the host's underlay address: outer destination of packets to `address`, outer source of packets from it
    groups: tuple[str, ...] = ()  # the interface's groups: rules that refer to one of them match this address
    move: Move | None = None


class Seat(Part, frozen=True, kw_only=True):
    """An edge that carries a gateway."""

    host: str
    vtep: str  # the edge's underlay address


class GatewayMapping(Record, frozen=True, kw_only=True, omit_defaults=True):
    """The edges that carry a VPC's gateway. Each host chooses one of the seats: netorch.model.routing.seats."""

    vni: int
    gateway: str  # its id
    seats: tuple[Seat, ...]  # the edges of one pair, in order


class PublicMapping(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A public address mapped to a private address of an interface. Effective while the VPC has an internet gateway."""

    vni: int
    address: str  # the public one, IPv4
    association: str  # its id, as in EC2: eipassoc-...
    eni: str
    private_address: str
    pool: str
    allocation: str = ""  # eipalloc-...; empty: an ephemeral address, released with the association


class ReachedPrefix(Part, frozen=True, kw_only=True, omit_defaults=True):
    """A prefix that an edge has a route to. `origin` is a netorch.model.routing.effective.Origin: the source of the route."""

    prefix: str  # canonical
    origin: int
    as_path_length: int = 0  # of a BGP route


class Reach(Record, frozen=True, kw_only=True, omit_defaults=True):
    """The prefixes that an edge reaches now through a virtual private gateway. Only the edge's agent writes this record."""

    vni: int
    gateway: str  # vgw-...
    edge: str
    prefixes: tuple[ReachedPrefix, ...] = ()  # sorted; the edge's best route for each prefix
