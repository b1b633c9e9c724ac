"""Targets of endpoint services: which targets answer, checked from each connection in use on this edge.

  knocks    -> Records: a new connection goes to a target that answers, or to any if none does
  counters  -> `hoststat/<edge>/<vpce-con id>`: the state shown to the provider

Each connection knocks for itself, because targets' groups may permit one and not another. A target is checked every EVERY_S, or
less often where there are more than MOST checks per second. The other edge of the pair gets no answers, so it takes all targets
for healthy until it is the edge in use.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Generic, TypeVar

from netorch.agent.reconcile import Reconciler
from netorch.agent.records import Records
from netorch.agent.report import StatusPublisher
from netorch.agent.tasks.base import Task, Turn
from netorch.agent.tasks.rounds import Rounds
from netorch.agent.tasks.targets.portions import Checked, Portions
from netorch.compiler.interface_endpoint import AILING, BACK, FRONT, Backend, EndpointEnd
from netorch.drivers.base import Kernel, KernelEvent, Knock
from netorch.errors import KernelError
from netorch.model.security import TCP
from netorch.model.status import ConnectionUse
from netorch.records import keys
from netorch.state.daemons.services.relay import RELAY_ADDRESS
from netorch.state.names import vni_of_netns
from netorch.state.nft import NftElement

log = logging.getLogger(__name__)

TURN_S: Final = 1.0  # after which a knock counts as unanswered
EVERY_S: Final = 5.0
MOST: Final = 200  # knocks in a turn
IN_A_ROW: Final = 2  # contrary results: one lost packet takes no target out of service, as in EC2's health checks

T = TypeVar("T")


class Health(Generic[T]):
    """The targets that do not answer, and how many contrary results each has had in a row."""

    def __init__(self) -> None:
        self.ailing: set[T] = set()
        self._contrary: dict[T, int] = {}

    def note(self, target: T, *, well: bool) -> None:
        """Note whether a knock was answered."""
        if well == (target not in self.ailing):
            self._contrary.pop(target, None)
            return
        count = self._contrary.get(target, 0) + 1
        self._contrary[target] = count
        if count >= IN_A_ROW:
            self.ailing ^= {target}
            del self._contrary[target]

    def keep(self, is_known: Callable[[T], bool]) -> None:
        """Forget all other targets: they start as healthy ones."""
        self.ailing = set(filter(is_known, self.ailing))
        self._contrary = {target: count for target, count in self._contrary.items() if is_known(target)}


class TargetChecks(Task):
    """The targets of all connections with endpoint services that are in use on this host."""

    def __init__(self, records: Records, reconciler: Reconciler, kernel: Kernel, publisher: StatusPublisher) -> None:
        self._records = records
        self._reconciler = reconciler
        self._kernel = kernel
        self._publisher = publisher
        self._knocks = kernel.knocks()
        self._health = Health[Knock]()
        self._answered: set[Knock] = set()
        self._asked: set[Knock] = set()
        self._waiting: list[Knock] = []  # not yet checked in this round
        self._portions = Portions()
        self._turn_at = self._round_at = 0.0
        self._rounds = Rounds[str]()
        self._published: set[str] = set()
        self._has_begun = False

    def on_kernel(self, events: Sequence[KernelEvent]) -> None:
        """When the agent starts, take targets that the kernel passes over as ailing: an earlier run had found them so."""
        if self._has_begun:
            return
        self._has_begun = True
        slices = (self._reconciler.slices.get(vni) for vni in {vni_of_netns(label) for label in self._connections()})
        objects = (obj for known in slices if known is not None for obj in known.actual.values())
        found = [obj for obj in objects if isinstance(obj, NftElement) and obj.set == AILING]
        self._health.ailing = {Knock(obj.netns, RELAY_ADDRESS, BACK, obj.items[0], int(obj.items[1], 0)) for obj in found}
        self._tell()

    def fileno(self) -> int | None:
        """Return a descriptor that is readable when a target has answered; the answer is read without delay."""
        return self._knocks.fileno()

    def wake_at(self, now: float) -> float | None:
        """Return when to check the next targets, if there are any."""
        return self._turn_at if self._asked or self._published or self._connections() else None

    def turn(self, turn: Turn) -> None:
        """Read answers; once a second rate the targets that were checked, and check the next ones."""
        self._answered |= self._knocks.answered()
        if turn.now < self._turn_at:
            return
        self._turn_at = turn.now + TURN_S
        for knock in self._asked:
            self._health.note(knock, well=knock in self._answered)
        if turn.now >= self._round_at and not self._waiting:
            self._round_at = turn.now + EVERY_S
            known = self._known()
            self._waiting = sorted(self._portions.take(known, MOST * round(EVERY_S / TURN_S)))
            self._health.keep(lambda knock: knock.netns in known and known[knock.netns].holds(knock))
        self._tell()
        self._publish(turn.now)
        count = min(MOST, -(-len(self._waiting) // max(1, round((self._round_at - turn.now) / TURN_S))))
        asked, self._waiting = self._waiting[:count], self._waiting[count:]
        self._asked, self._answered = set(asked), set()
        self._knocks.begin(asked)

    def close(self) -> None:
        """Close all knocks."""
        self._knocks.close()

    def _known(self) -> dict[str, Checked]:
        """Return the targets of each connection in use on this host. Cost: O(connections on this host)."""
        return {
            back.connection: Checked(back.targets, tuple({port.target_port: None for port in back.ports if port.protocol == TCP}))
            for back in self._backends()
        }

    def _backends(self) -> Iterator[Backend]:
        here = self._connections()
        for vni in {vni_of_netns(label) for label in here}:
            view = self._reconciler.view(vni)
            if view is None:
                continue
            ends = (end for end in view.of(EndpointEnd) if end.inside == FRONT)
            used = here & {end.connection for end in ends if end.gateway.seat.host == self._records.host_name}
            yield from (back for back in view.of(Backend) if back.connection in used)

    def _connections(self) -> set[str]:
        """Return the connections that have a namespace on this host."""
        return {label for label in self._kernel.trackers if label.startswith("vpce-con-")}

    def _tell(self) -> None:
        """Note changes of ailing targets: their connections are compiled next."""
        found: dict[str, set[tuple[str, int]]] = {}
        for knock in self._health.ailing:
            found.setdefault(knock.netns, set()).add((knock.address, knock.port))
        known = self._records.ailing
        for connection in [one for one in found.keys() | known.keys() if found.get(one, set()) != known.get(one, set())]:
            log.info("targets do not answer connection=%s targets=%s", connection, sorted(found.get(connection, ())))
            self._records.dirty.mark(vni_of_netns(connection), Backend)
        self._records.ailing = {connection: frozenset(targets) for connection, targets in found.items()}

    def _publish(self, now: float) -> None:
        """Publish the use of a few connections, and delete the records of those no longer in use on this host."""
        if not self._rounds.is_due(now):
            return
        here = sorted({back.connection for back in self._backends()})
        for gone in self._published - set(here):
            self._publisher.publish(keys.connection_use(self._records.host_name, gone), None)
        self._published &= set(here)
        for connection in self._rounds.few(here):
            try:
                use = self._use_of(connection)
            except (KeyError, KernelError) as error:  # the connection may have gone since the round began
                log.warning("use not read connection=%s reason=%r", connection, str(error))
                continue
            self._publisher.publish(keys.connection_use(self._records.host_name, connection), use)
            self._published.add(connection)

    def _use_of(self, connection: str) -> ConnectionUse:
        counts = self._kernel.gateway_counters(connection)
        return ConnectionUse(
            active=self._kernel.trackers[connection].use().held,
            ailing=_texts(self._records.ailing.get(connection, ())),
            dropped={name: count.packets for name, count in sorted(counts.items()) if count.packets},
        )


def _texts(targets: Iterable[tuple[str, int]]) -> tuple[str, ...]:
    return tuple(f"{address}:{port}" for address, port in sorted(targets))
