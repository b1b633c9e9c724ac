"""Every compiler at once: what one host must hold, with disagreements found.

Compilers come through the entry-point group `netorch.compilers`, so that netorch never imports those of other packages.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.metadata import entry_points
from typing import Final

from netorch.compiler.base import Compiler, HostView, VpcView
from netorch.errors import CompileError
from netorch.model.mapping import Mapping
from netorch.state.base import HOST_SLICE, KernelObject, Key

GROUP: Final = "netorch.compilers"

Objects = dict[Key, KernelObject]


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
            raise CompileError(f"compiler {compiler.name} ({point.value}): the name is taken; remove one of the two packages")
        compilers[compiler.name] = compiler
    if not compilers:
        raise CompileError(f"no compilers: the entry-point group {GROUP} is empty; reinstall netorch")
    return tuple(compilers[name] for name in sorted(compilers))


def check_coverage(compilers: Iterable[Compiler], types: Iterable[type]) -> None:
    """Check that somebody reads each type of stored resource: a firewall is never silently left out.

    Raises:
      CompileError: names the types that nobody reads.
    """
    read: set[type] = set().union(*(compiler.reads for compiler in compilers))
    missing = sorted(kind.__name__ for kind in types if kind not in read)
    if missing:
        raise CompileError(f"compilers: none reads {', '.join(missing)}; install the package that does")


def compile_host(compilers: Sequence[Compiler], view: HostView) -> Objects:
    """Return what stands on this host whatever its VPCs. Raises CompileError."""
    return _merge(((compiler.name, compiler.host(view)) for compiler in compilers), HOST_SLICE)


def compile_vpc(compilers: Sequence[Compiler], view: VpcView) -> Objects:
    """Return the objects of one VPC that depend on neither rules nor a mapping. Raises CompileError."""
    return _merge(((compiler.name, compiler.vpc(view)) for compiler in compilers), view.vni)


def compile_rules(compilers: Sequence[Compiler], view: VpcView) -> Objects:
    """Return what the VPC's rules come to on this host. Raises CompileError."""
    return _merge(((compiler.name, compiler.rules(view)) for compiler in compilers), view.vni)


def compile_mapping(compilers: Sequence[Compiler], view: VpcView, mapping: Mapping) -> Objects:
    """Return the objects of one mapping. Raises CompileError. Cost: O(1)."""
    return _merge(((compiler.name, compiler.mapping(view, mapping)) for compiler in compilers), view.vni)


def compile_slice(compilers: Sequence[Compiler], view: VpcView, mappings: Iterable[Mapping]) -> Objects:
    """Return everything of one VPC on this host, compiled from nothing: what incremental work is measured against.

    Raises:
      CompileError: as the others, and when a mapping wants something else than another mapping or the VPC itself.
    """
    parts: list[tuple[str, Iterable[KernelObject]]] = [(compiler.name, compiler.vpc(view)) for compiler in compilers]
    parts += [(f"{compiler.name} (rules)", compiler.rules(view)) for compiler in compilers]
    for mapping in mappings:
        parts += [(f"{compiler.name} ({mapping.address})", compiler.mapping(view, mapping)) for compiler in compilers]
    return _merge(parts, view.vni)


def _merge(parts: Iterable[tuple[str, Iterable[KernelObject]]], slice_id: int) -> Objects:
    """Return all objects by key; a later object that equals an earlier one is the same."""
    merged: Objects = {}
    author: dict[Key, str] = {}
    for name, objects in parts:
        for obj in objects:
            key = obj.key
            known = merged.get(key)
            if known is None:
                if obj.slice_id != slice_id:
                    raise CompileError(_stray(name, key, obj.slice_id, slice_id))
                merged[key] = obj
                author[key] = name
            elif known is not obj and known != obj:
                raise CompileError(_dispute(author[key], known, name, obj))
    return merged


def _stray(name: str, key: Key, found: int, wanted: int) -> str:
    return (
        f"compiler {name}: {_spell(key)} belongs to slice {found}, not to {wanted}, which was compiled; "
        "mend the compiler: a VPC's objects carry its VNI, the host's own carry none"
    )


def _dispute(first: str, known: KernelObject, second: str, obj: KernelObject) -> str:
    return f"compilers {first} and {second} disagree about {_spell(obj.key)}: {known} or {obj}; mend one of them"


def _spell(key: Key) -> str:
    return " ".join(str(part) for part in key)
