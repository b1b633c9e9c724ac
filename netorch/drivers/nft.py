"""nftables through libnftables: whole tables as text, elements in bulk, and a fingerprint by which a table is recognised.

A table cannot be compared with its text: the kernel keeps expressions, not words. So after loading a table we list it, and leave
two digests in the table itself, as the comment of an empty set: of the text, and of that listing without elements, handles and
counts. A later process lists the table again: an equal listing means that nobody touched it since, and that the text was that.

The chains of ports are no part of that: they are read back in words and compared as they are, see nft_chains.

Lists nothing but our own tables: foreign ones may be large, and libnftables aborts the process over what it cannot sort.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import groupby
from typing import Any, Final

import msgspec
import nftables

from netorch.drivers import netns, nft_chains
from netorch.drivers.base import KernelEvent, Lost
from netorch.drivers.describe import describe
from netorch.drivers.nft_counters import CounterReader
from netorch.drivers.nft_monitor import NETLINK_NETFILTER, NftMonitor
from netorch.errors import KernelError
from netorch.state.base import KernelObject, Key
from netorch.state.nft import NftElement, NftTable, PortChain, Scope, vni_of_element
from netorch.state.op import Create, Delete, Failure, Op, Replace
from netorch.state.owner import NFT_TABLE

FINGERPRINT: Final = "fingerprint"  # the set's name
_FD_SETSIZE: Final = 1024  # libnftables waits with select(2)
_FAMILIES: Final = ("ip", "inet", "arp", "netdev")  # asked one by one: `list tables` reads every set of the namespace
_CHUNK: Final = 5000  # operations in a transaction: some 300 kB of text
_VOLATILE: Final = frozenset({"handle", "packets", "bytes", "elem"})
_WORD: Final = re.compile(r"[A-Za-z0-9_.:-]+( [A-Za-z0-9_.-]+)?")
_ERRNO: Final = {os.strerror(number): number for number in errno.errorcode}

Listing = list[dict[str, Any]]  # what nft's JSON says of a table: [{"set": {...}}, {"rule": {...}}, ...]


class Nft:
    """Our tables in one network namespace. One thread at a time may use it; which one does not matter."""

    def __init__(self, scope: Scope, netns_fd: int) -> None:
        """Open the namespace's nftables.

        Raises:
          KernelError: libnftables is not installed, or CAP_NET_ADMIN is missing.
        """
        self._scope = scope
        self._lost = False
        try:
            with netns.inside(netns_fd):
                self._library, port = _open_library()
                self._monitor = NftMonitor(port)
                self._counters = CounterReader()
        except OSError as error:
            raise KernelError("open nftables", error.errno or 0, f"{error}; install libnftables1 and run as root") from error

    def dump(self) -> dict[Key, KernelObject]:
        """Return our tables, the elements of all their sets and maps, and the chains of ports. Cost: about 5 us an element."""
        found: dict[Key, KernelObject] = {}
        for family in _FAMILIES:
            listing = self._list(family)
            if not listing:
                continue
            table = NftTable(scope=self._scope, family=family, text=_sealed_text(listing))
            found[table.key] = table
            for obj in self._contents(family, listing):
                found[obj.key] = obj
        return found

    def apply(self, ops: Sequence[Op]) -> list[Failure]:
        """Carry out the operations in order, neighbouring elements and chains in one transaction, and return the refused ones."""
        failures: list[Failure] = []
        for of_tables, group in groupby(ops, key=lambda op: isinstance(op.obj, NftTable)):
            batch = list(group)
            if of_tables:
                failures += [failure for op in batch if (failure := self._apply_table(op)) is not None]
            else:
                strange = [op for op in batch if not _is_words(op.obj)]
                failures += [_failure(op, "not made of words of nft") for op in strange]
                sane = [op for op in batch if op not in strange] if strange else batch
                for start in range(0, len(sane), _CHUNK):
                    failures += self._apply_contents(sane[start : start + _CHUNK])
        return failures

    def counters(self) -> dict[str, int]:
        """Return the packets of each named counter. Raises KernelError."""
        try:
            return self._counters.read()
        except OSError as error:
            raise KernelError("read nft counters", error.errno or 0, str(error)) from error

    def fileno(self) -> int:
        """Return a descriptor that is readable when `events` may have something."""
        return self._monitor.fileno()

    def events(self) -> list[KernelEvent]:
        """Return `Lost("nft")` when somebody else has changed a table of ours since the last call; never blocks."""
        lost = self._monitor.touched() or self._lost
        self._lost = False
        return [Lost("nft")] if lost else []

    def close(self) -> None:
        """Let go of the sockets; the tables stay."""
        self._monitor.close()
        self._counters.close()
        self._library = None

    def _apply_table(self, op: Op) -> Failure | None:
        table = op.obj
        assert isinstance(table, NftTable)
        if isinstance(op, Delete):
            error = self._run(f"delete table {table.family} {NFT_TABLE}")
            return None if not error or _errno_of(error) == errno.ENOENT else _failure(op, error)
        error = self._load(table) or self._seal(table)
        return _failure(op, error) if error else None

    def _load(self, table: NftTable) -> str:
        """Put the new table in the old one's place with all that it holds, in one transaction; return libnftables' complaint.

        When its elements do not fit the new text the table comes without them, so that it drops what it does not know, and
        the agent is told to look.
        """
        name = f"{table.family} {NFT_TABLE}"
        skeleton = f"add table {name}\ndelete table {name}\ntable {name} {{\n{table.text}\n}}\n"
        contents = list(self._contents(table.family, self._list(table.family)))
        error = self._run(skeleton + _commands(Create(obj) for obj in contents))
        if error and contents:
            error = self._run(skeleton)
            self._lost = True
        return error

    def _seal(self, table: NftTable) -> str:
        comment = f"{table.digest} {_digest(self._list(table.family))}"
        return self._run(f'add set {table.family} {NFT_TABLE} {FINGERPRINT} {{ type mark; comment "{comment}"; }}')

    def _apply_contents(self, ops: Sequence[Op]) -> list[Failure]:
        """Carry out all in one transaction; if that is refused look for the culprits by halves.

        Cost: for n operations with k culprits about k * log2(n) transactions more.
        """
        error = self._run(_commands(ops))
        if not error:
            return []
        if len(ops) == 1:
            gone = isinstance(ops[0], Delete) and _errno_of(error) == errno.ENOENT
            return [] if gone else [_failure(ops[0], error)]
        half = len(ops) // 2
        return self._apply_contents(ops[:half]) + self._apply_contents(ops[half:])

    def _list(self, family: str) -> Listing:
        command = f"list table {family} {NFT_TABLE}"
        if family == nft_chains.FAMILY:
            return nft_chains.parse_table(self._read(command))
        output = self._read(command, as_json=True)
        answer: dict[str, Listing] = msgspec.json.decode(output) if output else {"nftables": []}
        return [entry for entry in answer["nftables"] if "metainfo" not in entry]

    def _contents(self, family: str, listing: Listing) -> Iterator[NftElement | PortChain]:
        if family == nft_chains.FAMILY:
            yield from nft_chains.chains_of(listing)
            return
        yield from self._elements(family, listing)

    def _elements(self, family: str, listing: Listing) -> Iterator[NftElement]:
        for holder in [entry.get("set") or entry.get("map") or {} for entry in listing]:
            for element in holder.get("elem", ()):
                key, value = element if isinstance(element, list) else (element, "")
                items = tuple(map(_spell, _parts(key)))
                yield NftElement(
                    scope=self._scope,
                    family=family,
                    set=holder["name"],
                    items=items,
                    vni=vni_of_element(holder["name"], items),
                    value=_spell(value),
                )

    def _read(self, command: str, *, as_json: bool = False) -> str:
        """Return nft's answer; nothing when what was to be listed has gone. Raises KernelError."""
        self._library.set_json_output(as_json)
        try:
            code, output, error = self._library.cmd(command)
        finally:
            self._library.set_json_output(False)
        if code == 0:
            return str(output)
        if _errno_of(error) == errno.ENOENT:
            return ""
        raise KernelError(f"nft {command}", _errno_of(error), _first_line(error))

    def _run(self, commands: str) -> str:
        """Commit a transaction; return libnftables' complaint, or nothing."""
        code, _, error = self._library.cmd(commands)
        return "" if code == 0 else str(error) or "refused"


def _open_library() -> tuple[Any, int]:
    """Return libnftables' context, which keeps the namespace it was made in, and its netlink port. Raises OSError."""
    before = _netfilter_ports()
    library = nftables.Nftables()
    library.cmd(f"list table arp {NFT_TABLE}")  # a netlink socket has no port before it sends
    opened = {fd: port for fd, port in _netfilter_ports().items() if before.get(fd) != port}
    if not opened:
        raise OSError(errno.EPERM, "libnftables opened no netlink socket")
    fd, port = opened.popitem()
    if fd >= _FD_SETSIZE:
        raise OSError(errno.EMFILE, f"{fd} files are open, and libnftables would abort the process")
    return library, port


def _netfilter_ports() -> dict[int, int]:
    """Return this process's netfilter sockets: descriptor -> netlink port."""
    found: dict[int, int] = {}
    for fd in map(int, os.listdir("/proc/self/fd")):
        with suppress(OSError):  # no socket, or closed by now
            view = socket.socket(fileno=fd)
            if view.family == socket.AF_NETLINK and view.proto == NETLINK_NETFILTER:
                found[fd] = view.getsockname()[0]
            view.detach()  # the socket is somebody else's
    return found


def _commands(ops: Iterable[Op]) -> str:
    """Return the operations on elements and chains as text, neighbouring elements of one set in one command."""
    steps: list[tuple[str, NftElement | PortChain]] = []
    for op in ops:
        assert isinstance(op.obj, NftElement | PortChain)
        if isinstance(op, Replace):
            assert isinstance(op.old, NftElement | PortChain)
            steps.append(("delete", op.old))
        steps.append(("delete" if isinstance(op, Delete) else "add", op.obj))
    lines = []
    for (verb, holder), group in groupby(steps, key=lambda step: (step[0], _holder(step[1]))):
        objects = [obj for _, obj in group]
        lines += [
            nft_chains.add_chain(obj) if verb == "add" else nft_chains.delete_chain(obj)
            for obj in objects
            if isinstance(obj, PortChain)
        ]
        body = ", ".join(_element_text(obj, with_value=verb == "add") for obj in objects if isinstance(obj, NftElement))
        if body:
            lines.append(f"{verb} element {holder} {{ {body} }}\n")
    return "".join(lines)


def _holder(obj: NftElement | PortChain) -> str:
    """Return the set of an element; of a chain its own name."""
    return f"{obj.family} {NFT_TABLE} {obj.set}" if isinstance(obj, NftElement) else obj.ifname


def _element_text(element: NftElement, *, with_value: bool) -> str:
    """Return `a . b . c` or `a . b : value`."""
    return " . ".join(element.items) + (f" : {element.value}" if with_value and element.value else "")


def _is_words(obj: KernelObject) -> bool:
    """Return whether an element or chain is nothing but words: no text of a customer may become syntax."""
    if isinstance(obj, PortChain):
        return all(_WORD.fullmatch(word) for text in (obj.ifname, *obj.rules) for word in text.split(" "))
    return isinstance(obj, NftElement) and all(map(_WORD.fullmatch, (obj.set, *obj.items, obj.value or "-")))


def _parts(key: object) -> list[object]:
    match key:
        case {"elem": {"val": val}}:
            return _parts(val)
        case {"concat": list(parts)}:
            return parts
        case _:
            return [key]


def _spell(part: object) -> str:
    """Return a part of an element as a compiler writes it: numbers in hexadecimal, verdicts as in a rule, the rest as it is."""
    match part:
        case int():
            return hex(part)
        case str() if part.startswith("0x"):
            return hex(int(part, 16))
        case dict():
            verb, rest = next(iter(part.items()))  # {"drop": None} or {"goto": {"target": "chain"}}
            return f"{verb} {rest['target']}" if rest else str(verb)
        case _:
            return str(part)


def _sealed_text(listing: Listing) -> str:
    """Return the digest of the text that was loaded, or nothing when the table is not as we left it."""
    for entry in listing:
        if entry.get("set", {}).get("name") == FINGERPRINT:
            text, _, listed = entry["set"].get("comment", "").partition(" ")
            return text if listed == _digest(listing) else ""
    return ""


def _digest(listing: Listing) -> str:
    kept = [entry for entry in listing if entry.get("set", {}).get("name") != FINGERPRINT and not nft_chains.is_of_port(entry)]
    stable = [{kind: {k: v for k, v in body.items() if k not in _VOLATILE} for kind, body in entry.items()} for entry in kept]
    return hashlib.sha256(msgspec.json.encode(stable, order="deterministic")).hexdigest()[:32]


def _first_line(error: str) -> str:
    return error.partition("\n")[0].removeprefix("Error: ").removeprefix("Could not process rule: ")


def _errno_of(error: str) -> int:
    """Return the number of the errno whose text libnftables gives; EINVAL for its own complaints, e.g. of syntax."""
    return _ERRNO.get(_first_line(error).partition("; did you mean")[0].rpartition(": ")[2], errno.EINVAL)


def _failure(op: Op, error: str) -> Failure:
    return Failure(op, KernelError(describe(op), _errno_of(error), _first_line(error)))
