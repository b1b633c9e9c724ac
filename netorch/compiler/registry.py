"""All compilers together: the objects that one host must hold, and a check for disagreements.

Compilers are found through the entry-point group `netorch.compilers`, so netorch never imports those of other packages.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import entry_points
from typing import Final, NamedTuple, TypeVar

from netorch.compiler.base import (
    Carried,
    Compiler,
    HostPart,
    HostView,
    MappingPart,
    Part,
    PeerMappingPart,
    ProblemPart,
    VpcPart,
    VpcView,
)
from netorch.errors import CompileError
from netorch.model.mapping import Mapping
from netorch.state.base import KernelObject, Key

GROUP: Final = "netorch.compilers"

Objects = dict[Key, KernelObject]
P = TypeVar("P", HostPart, VpcPart, MappingPart, PeerMappingPart, ProblemPart)


class LeftOut(NamedTuple):
    """What was left out of a VPC on this host."""

    text: str  # for people; empty: nothing was left out
    peers: frozenset[int]  # VNIs of peers whose interfaces belong to no group on this host


COMPLETE: Final = LeftOut("", frozenset())


def load_compilers() -> tuple[Compiler, ...]:
    """Return every installed compiler, sorted by name.

    Raises:
      CompileError: none is installed, one cannot be imported, or two have one name.
    """
    compilers: dict[str, Compiler] = {}
    for point in entry_points(group=GROUP):
        try:
            compiler: Compiler = point.load()()
        except Exception as error:
            raise CompileError(f"compiler {point.name} ({point.value}): {error}; reinstall the package it belongs to") from error
        if compiler.name in compilers:
            raise CompileError(f"compiler {compiler.name} ({point.value}): the name is in use; remove one of the two packages")
        compilers[compiler.name] = compiler
    if not compilers:
        raise CompileError(f"no compilers: the entry-point group {GROUP} is empty; reinstall netorch")
    return tuple(compilers[name] for name in sorted(compilers))


def check_coverage(compilers: Iterable[Compiler], types: Iterable[type]) -> None:
    """Check that a compiler reads each type of stored resource: a firewall is never silently left out.

    Raises:
      CompileError: names the types that no compiler reads.
    """
    read: set[type] = set().union(*(compiler.reads for compiler in compilers))
    missing = sorted(kind.__name__ for kind in types if kind not in read)
    if missing:
        raise CompileError(f"compilers: none reads {', '.join(missing)}; install the package that does")


def parts_of(compilers: Iterable[Compiler], kind: type[P]) -> tuple[P, ...]:
    """Return the parts of one class. Raises CompileError for two parts with one id."""
    parts: dict[str, Part] = {}
    for part in (part for compiler in compilers for part in compiler.parts):
        if part.id in parts:
            raise CompileError(f"compilers: two parts have the id {part.id}; give one of them another")
        parts[part.id] = part
    return tuple(part for part in parts.values() if isinstance(part, kind))


def inputs_of(compilers: Iterable[Compiler]) -> frozenset[type]:
    """Return the inputs of all parts."""
    return frozenset(kind for compiler in compilers for part in compiler.parts for kind in part.inputs)


def compile_host_part(part: HostPart, view: HostView, carried: Carried) -> Objects:
    """Return a part's objects for a host. Raises CompileError."""
    if not _is_for(part, view):
        return {}
    seen = {vni: vpc.only(part.inputs) for vni, vpc in carried.items()} if part.inputs else {}
    objects = _checked(part.id, part.compile(view, seen), part.slice)
    for obj in objects.values() if part.inputs else ():
        if type(obj) not in part.yields:
            raise CompileError(f"compiler {part.id}: {_spell(obj.key)} is a {type(obj).__name__}; add the class to its `yields`")
    return objects


def compile_vpc_part(part: VpcPart, view: VpcView) -> Objects:
    """Return a part's objects for a VPC. Raises CompileError."""
    seen = view.only(part.inputs)
    return _checked(part.id, part.compile(seen), view.vni) if part.role is None or _is_for(part, seen.host) else {}


def compile_mapping_part(part: MappingPart | PeerMappingPart, view: VpcView, mapping: Mapping) -> Objects:
    """Return a part's objects for a mapping; `view` has only the part's inputs. Raises CompileError. Cost: O(1)."""
    if part.role is not None and not _is_for(part, view.host):
        return {}
    return _checked(part.id, part.compile(view, mapping), view.vni)


def left_out_by(part: ProblemPart, view: VpcView) -> LeftOut:
    """Return what a part reports as left out of a VPC."""
    seen = view.only(part.inputs)
    text = part.problem(seen) if part.role is None or _is_for(part, seen.host) else ""
    return LeftOut(text, frozenset(part.peers(seen))) if text else COMPLETE


def _is_for(part: Part, host: HostView) -> bool:
    return part.role is None or part.role is host.host.role


def compile_host(compilers: Sequence[Compiler], view: HostView, carried: Carried | None = None) -> Objects:
    """Return the objects that this host has once. Raises CompileError."""
    found = carried if carried is not None else {}
    return _merged((part.id, compile_host_part(part, view, found)) for part in parts_of(compilers, HostPart))


def compile_slice(compilers: Sequence[Compiler], view: VpcView, mappings: Iterable[Mapping]) -> Objects:
    """Return all objects of one VPC on this host, compiled from nothing: the reference for incremental compilation.

    `mappings` are those of the VPC and of its active peers.

    Raises:
      CompileError: a part cannot be compiled, or two parts want different objects with one key.
    """
    return _merged(_parts_of_slice(compilers, view, mappings))


def _parts_of_slice(compilers: Sequence[Compiler], view: VpcView, mappings: Iterable[Mapping]) -> Iterator[tuple[str, Objects]]:
    for part in parts_of(compilers, VpcPart):
        yield part.id, compile_vpc_part(part, view)
    own = [(part, view.only(part.inputs)) for part in parts_of(compilers, MappingPart)]
    of_peers = [(part, view.only(part.inputs)) for part in parts_of(compilers, PeerMappingPart)]
    for mapping in mappings:
        for each, seen in own if mapping.vni == view.vni else of_peers:
            yield f"{each.id} ({mapping.address})", compile_mapping_part(each, seen, mapping)


def _merged(parts: Iterable[tuple[str, Objects]]) -> Objects:
    """Return all objects by key. Raises CompileError for different objects with one key."""
    found: Objects = {}
    author: dict[Key, str] = {}
    for name, objects in parts:
        for key, obj in objects.items():
            known = found.setdefault(key, obj)
            first = author.setdefault(key, name)
            if known is not obj and known != obj:
                raise CompileError(disagreement(first, known, name, obj))
    return found


def disagreement(first: str, known: KernelObject, second: str, obj: KernelObject) -> str:
    """Return the error text for two parts that want different objects with one key."""
    return f"compilers {first} and {second} disagree about {_spell(obj.key)}: {known} or {obj}; correct one of them"


def _checked(name: str, objects: Iterable[KernelObject], slice_id: int) -> Objects:
    found: Objects = {}
    for obj in objects:
        key = obj.key
        known = found.setdefault(key, obj)
        if known is not obj and known != obj:
            raise CompileError(disagreement(name, known, "itself", obj))
        if obj.vni != slice_id:
            raise CompileError(
                f"compiler {name}: {_spell(key)} belongs to slice {obj.vni}, not to {slice_id}, which was compiled; "
                "correct the compiler: a VPC's objects carry its VNI, the host's own carry none"
            )
    return found


def _spell(key: Key) -> str:
    return " ".join(map(str, (key[0], *key[2:])))  # without the namespace
