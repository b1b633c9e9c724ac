"""The mapping: (VNI, virtual address) -> host. The heart of it all; stored at `map/<vni>/<address>`.

There are three more kinds, of which the outside is made:

    (VNI, gateway) -> edges                     GatewayMapping   `map/<vni>/<gateway id>`
    (VNI, public address) -> private address    PublicMapping    `map/<vni>/eip/<public address>`
    (VNI, gateway, edge) -> prefixes            Reach            `map/<vni>/reach/<gateway id>/<edge>`

A mapping's generation is the store's mod_revision; nobody counts by hand. A moving address names two hosts:

    settled at A          {host: A}
    moving to B           {host: A, move: to B}     peers accept both hosts, A prepares to relay, B prepares the port
    moved, A still relays {host: B, move: from A}   peers send to B; what still reaches A is relayed for a grace period
    settled at B          {host: B}
"""

from __future__ import annotations

from enum import Enum

from netorch.model.record import Part, Record


class MoveDirection(Enum):
    """Whether the other host of a move is the next or the previous one."""

    TO = "to"
    FROM = "from"


class Move(Part, frozen=True, kw_only=True, omit_defaults=True):
    """The other host of a moving address."""

    direction: MoveDirection
    host: str
    vtep: str


class Mapping(Record, frozen=True, kw_only=True, omit_defaults=True):
    """Where an address of a VPC lives."""

    vni: int
    address: str  # canonical
    eni: str
    mac: str
    host: str
    vtep: str  # the host's underlay address: the outer destination of packets to `address`, the outer source of its own
    groups: tuple[str, ...] = ()  # the interface's: rules that refer to one of these mean this address
    move: Move | None = None


class Seat(Part, frozen=True, kw_only=True):
    """An edge that carries a gateway."""

    host: str
    vtep: str  # the edge's underlay address


class GatewayMapping(Record, frozen=True, kw_only=True, omit_defaults=True):
    """Where a gateway of a VPC is. Each host chooses one of the seats: netorch.model.routing.seats."""

    vni: int
    gateway: str  # its id
    seats: tuple[Seat, ...]  # of one pair, in order


class PublicMapping(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A public address stands for a private one of an interface, as long as the VPC has an internet gateway."""

    vni: int
    address: str  # the public one, IPv4
    association: str  # its id, as EC2 has one: eipassoc-...
    eni: str
    private_address: str
    pool: str
    allocation: str = ""  # eipalloc-...; nothing: an ephemeral address, which is given back with the association


class ReachedPrefix(Part, frozen=True, kw_only=True, omit_defaults=True):
    """A prefix that an edge has a way to. `origin` says how it knows, as netorch.model.routing.effective.Origin has it."""

    prefix: str  # canonical
    origin: int
    as_path_length: int = 0  # of a BGP route


class Reach(Record, frozen=True, kw_only=True, omit_defaults=True):
    """What an edge reaches through a virtual private gateway now. The edge's agent writes it, and nobody else."""

    vni: int
    gateway: str  # vgw-...
    edge: str
    prefixes: tuple[ReachedPrefix, ...] = ()  # sorted, one for each prefix: the best that the edge has
