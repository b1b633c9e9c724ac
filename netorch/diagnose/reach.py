"""Who reaches whom in each VPC, and which flows another state of the cloud would open or close: from records alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.diagnose.books import names_of, paths_of, rulebook_of
from netorch.model.cloud import Cloud
from netorch.records.caller import Caller
from netorch.records.inventory import Inventory, read_inventory
from netorch.records.vpc import VpcRecords
from netorch.store.base import Store
from netorch.store.trial import TrialStore
from netorch.trace.paths import DIRECT, Path
from netorch.trace.reach import ALL_ANSWERS, Class, Reach, Services, by_answers, texts_of
from netorch.trace.reach import Flows as Open
from netorch.trace.rulebook import Rulebook
from netorch.trace.services import Spans, ports_of


class Flows(msgspec.Struct, frozen=True, kw_only=True):
    """What every one of some interfaces can open to every one of others."""

    vpc: str  # owner/name
    version: int
    sources: tuple[str, ...]
    destinations: tuple[str, ...]
    services: tuple[str, ...]  # in the words of the command line, e.g. "tcp 22,443"
    answers: str = ""  # the ports that answers are let back to, where these are only some: partly open
    through: tuple[str, ...] = ()  # the interfaces that packets pass on their way
    code: str = ""  # why routes drop the packets, where they do: rules permit the flow, and it is not open


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Flows that are opened, or closed."""

    opened: bool
    flows: Flows


class _Vpc:
    """One VPC's flows, with the names of its interfaces; a VPC that is not there has none."""

    def __init__(self, records: VpcRecords | None, also: Iterable[int] = ()) -> None:
        nothing = Rulebook((), (), (), (), ())
        self.reach = Reach(nothing, also) if records is None else Reach(rulebook_of(records), also, paths_of(records))
        self.names = names_of(records) if records is not None else {}
        self.classes: dict[tuple[str, int], Class] = {}  # by an interface's name and IP version
        for found, members in self.reach.members.items():
            for eni in members:
                self.classes[self.names[eni.id], found.version] = found

    def between(self, source: Class | None, destination: Class | None) -> Open:
        """Return what is open, or partly; nothing from or to what is not there."""
        return self.reach.between(source, destination) if source is not None and destination is not None else {}

    def path(self, source: Class | None, destination: Class | None) -> Path:
        """Return the path of these packets; the direct one from or to what is not there."""
        return self.reach.path(source, destination) if source is not None and destination is not None else DIRECT


def matrix(inventory: Inventory, caller: Caller) -> Iterator[Flows]:
    """Yield all flows that rules permit, of the VPCs that the caller sees, between interfaces that are held alike.

    They are open, or partly, unless routes drop their packets: then `code` says why.
    """
    for name, records in _visible(inventory, caller):
        names = names_of(records)
        reach = Reach(rulebook_of(records), paths=paths_of(records))
        for source, destination, found in reach.pairs():
            sources, destinations = (tuple(sorted(names[eni.id] for eni in reach.members[end])) for end in (source, destination))
            path = _in_words(reach.path(source, destination), names)
            yield from _told(name, source.version, sources, destinations, by_answers(found, {}), reach.protocols, path)


def _told(
    vpc: str,
    version: int,
    sources: Sequence[str],
    destinations: Sequence[str],
    found: dict[Spans, Services],
    protocols: Iterable[int],
    path: Path,
) -> Iterator[Flows]:
    """Yield flows in words, those that are open before those that are partly open."""
    for answers, services in found.items():
        yield Flows(
            vpc=vpc,
            version=version,
            sources=tuple(sources),
            destinations=tuple(destinations),
            services=texts_of(services, protocols, version),
            answers="" if answers == ALL_ANSWERS else ports_of(answers),
            through=path.through,
            code=path.code.value if path.code is not None else "",
        )


def _in_words(path: Path, names: Mapping[str, str]) -> Path:
    """Return a path with the names of the interfaces that it passes."""
    return Path(tuple(names[eni_id] for eni_id in path.through), path.code)


def compare(store: Store, caller: Caller, cloud: Cloud, source: str) -> list[Change]:
    """Return the flows that a declared cloud would open and close in the stored one, which does not change.

    Raises:
      ApiError: the cloud cannot be applied.
    """
    trial = TrialStore(store)
    plan = plan_cloud(trial, caller, cloud, source=source)
    if plan.stuck:
        raise plan.stuck[0].error
    apply_cloud(trial, plan, allow_mass_delete=True)
    return differences(read_inventory(store), read_inventory(trial), caller)


def differences(old_state: Inventory, new_state: Inventory, caller: Caller) -> list[Change]:
    """Return the flows that are open, or partly, in one state of the cloud and not in the other, in the caller's VPCs."""
    before, after = (dict(_visible(state, caller)) for state in (old_state, new_state))
    changes: list[Change] = []
    for name in sorted(before.keys() | after.keys()):
        new = _Vpc(after.get(name))
        old = _Vpc(before.get(name), new.reach.protocols)
        changes += _changes(name, old, _Vpc(after.get(name), old.reach.protocols))
    return changes


def _changes(name: str, before: _Vpc, after: _Vpc) -> Iterator[Change]:
    """Yield a VPC's changes, between groups of interfaces that are alike before and alike after."""
    joint: dict[tuple[int, Class | None, Class | None], list[str]] = {}
    for member, version in sorted(before.classes.keys() | after.classes.keys()):
        classes = before.classes.get((member, version)), after.classes.get((member, version))
        joint.setdefault((version, *classes), []).append(member)
    for (version, old_source, new_source), sources in joint.items():
        for (other, old_destination, new_destination), destinations in joint.items():
            if other != version or (sources is destinations and len(sources) == 1):
                continue
            old, new = before.between(old_source, old_destination), after.between(new_source, new_destination)
            path = _in_words(after.path(new_source, new_destination), after.names)
            for opened, more in ((True, by_answers(new, old)), (False, by_answers(old, new))):
                for flows in _told(name, version, sources, destinations, more, after.reach.protocols, path):
                    yield Change(opened=opened, flows=flows)


def _visible(inventory: Inventory, caller: Caller) -> Iterator[tuple[str, VpcRecords]]:
    for records in sorted(inventory.vpcs.values(), key=lambda found: found.vni):
        vpc = records.vpc.record
        if caller.sees(vpc.owner):
            yield f"{vpc.owner}/{vpc.name}", records
