"""netorch's nftables tables: whole tables as libnftables text, contents as packed netlink (nft.wire), and fingerprints.

A table cannot be compared with its text: the kernel keeps expressions, not words. So after loading a table the agent reads it
back. It stores two digests in the table itself, as the comment of an empty set: one of the text, and one of the contents read
back without those of VPCs. A later process reads the table again: if the second digest still matches, nobody has changed the
table, and the first digest identifies its text.

The chains and sets of VPCs and ports are not part of the digest: they are read back as words and compared directly
(nft.listing). libnftables lists foreign content that the reader has no words for.

Only netorch's own tables are read: foreign ones may be large, and libnftables aborts the process if it cannot sort some
content.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import groupby
from typing import Final

from netorch.drivers import foreign
from netorch.drivers.base import Count, KernelEvent, Lost
from netorch.drivers.netns import inside
from netorch.drivers.nft import commands, swap
from netorch.drivers.nft.commands import ElementChange, Steps, as_text, element_changes, is_deletable, is_words, preparations
from netorch.drivers.nft.counters import CounterReader
from netorch.drivers.nft.library import Answer, Library
from netorch.drivers.nft.listing import (
    FINGERPRINT,
    Block,
    digest,
    in_words,
    is_strange,
    objects_of,
    parse_table,
    sealed_text,
    swapped_chains,
)
from netorch.drivers.nft.loads import fitting, text_of
from netorch.drivers.nft.monitor import NftMonitor
from netorch.drivers.nft.reader import Reader
from netorch.drivers.nft.transactions import adds_flows, only_elements, transactions
from netorch.drivers.nft.wire import elements
from netorch.drivers.nft.wire.commit import CommitSocket
from netorch.drivers.nft.wire.encode import messages
from netorch.drivers.nft.wire.messages import NotPackable, transaction
from netorch.errors import KernelError
from netorch.state.base import UNDERLAY, KernelObject, Key, OnDevice
from netorch.state.names import vni_of_netns
from netorch.state.nft import NFT_KINDS, Flowtable, FlowtableDevice, NftChain, NftMap, NftTable, PortChain
from netorch.state.op import Create, Delete, Failure, Op, Reload, describe
from netorch.state.owner import NFT_TABLE

_FAMILIES: Final = ("ip", "inet", "arp", "netdev")  # queried one by one: `list tables` reads every set of the namespace
_ERRNO: Final = {os.strerror(number): number for number in errno.errorcode}

Transaction = tuple[int, str]  # errno (0 on success), libnftables' error text


class Nft:
    """The driver of netorch's tables in one network namespace. Only one thread at a time may use it, but any thread may."""

    kinds: Final = NFT_KINDS

    def __init__(self, netns: str, netns_fd: int) -> None:
        """Open the namespace's nftables.

        Raises:
          KernelError: libnftables is not installed, or CAP_NET_ADMIN is missing.
        """
        self.netns = netns
        self._lost = False
        self._specs: dict[tuple[str, str], str] = {}  # of sets with element changes, by family and name
        self._swapped: set[str] = set()  # chains that read their sets by the alternate names
        try:
            with inside(netns_fd):
                self._wire = CommitSocket()
                self._monitor = NftMonitor(self._wire.port, all_tables=netns != UNDERLAY)
                self._library = Library(self._monitor.fileno(), self._monitor.ignore)
                self._counters = CounterReader()
            self._reader = Reader(netns_fd)
        except OSError as error:
            raise KernelError("open nftables", error.errno or 0, f"{error}; install libnftables1 and run as root") from error

    def dump(self) -> dict[Key, KernelObject]:
        """Return netorch's tables, and what VPCs and ports have in them. Cost: about 5 us an element."""
        found: dict[Key, KernelObject] = {}
        for family in _FAMILIES:
            blocks = self._list(family)
            if not blocks:
                continue
            body = sealed_text(self.netns, family, blocks)
            table = NftTable(netns=self.netns, vni=vni_of_netns(self.netns), family=family, body=body)
            found[table.key] = table
            for obj in objects_of(self.netns, family, blocks):
                found[obj.key] = obj
        if self.netns != UNDERLAY:  # the underlay belongs to the host, and so do its other tables
            for packed in self._reader.tables():
                if (other := foreign.nft_table(packed, self.netns)) is not None:
                    found[other.key] = other
        return found

    def apply(self, ops: Sequence[Op]) -> list[Failure]:
        """Apply the operations and return the refused ones. Consecutive operations share transactions.

        Those on tables have their own. The sets of chains are created one transaction before the chains read them.
        """
        failures: list[Failure] = []
        for of_tables, group in groupby(ops, key=lambda op: isinstance(op.obj, NftTable)):
            batch = list(group)
            if of_tables:
                failures += self._apply_tables(batch)
                continue
            strange = [op for op in batch if not (is_deletable if isinstance(op, Delete) else is_words)(op.obj)]
            failures += [_failure(op, errno.EINVAL, "not made of words of nft") for op in strange]
            sane = [op for op in batch if op not in strange] if strange else batch
            self._apply_in_stages(sane, failures)
        return failures

    def _apply_in_stages(self, ops: Sequence[Op], failures: list[Failure]) -> None:
        """Apply operations on contents, and add the refused ones and those that must not follow them to `failures`."""
        no_wait = 0  # errno: why packets that old rules judged may still be in flight
        for together, waits in transactions(ops):
            if waits:
                no_wait = _let_packets_leave()
            held = _held_back(together, failures, no_wait) if failures or no_wait else []
            keys = {failure.op.obj.key for failure in held}
            rest = [op for op in together if op.obj.key not in keys] if held else together
            failures += held + (self._apply_contents(rest) if rest else [])

    def counters(self) -> dict[str, int]:
        """Return the packet count of each named counter. Raises KernelError."""
        return {name: count.packets for name, count in self.counts().items()}

    def counts(self) -> dict[str, Count]:
        """Return the packet and byte counts by counters' names: several tables may count one reason. Raises KernelError."""
        found: dict[str, Count] = {}
        for own in self._counts().values():
            for name, count in own.items():
                before = found.get(name, Count(packets=0))
                found[name] = Count(packets=before.packets + count.packets, bytes=before.bytes + count.bytes)
        return found

    def _counts(self) -> dict[str, dict[str, Count]]:
        """Return the packet and byte counts by family and name. Raises KernelError."""
        try:
            return self._counters.read()
        except OSError as error:
            raise KernelError("read nft counters", error.errno or 0, str(error)) from error

    def commit(self, packed: bytes) -> None:
        """Commit a packed transaction; it causes no event. Raises KernelError."""
        number = self._wire.commit(packed)
        if number:
            raise KernelError("change elements", number)

    def fileno(self) -> int:
        """Return a descriptor that is readable when `events` may have something to return."""
        return self._monitor.fileno()

    def events(self) -> list[KernelEvent]:
        """Return Lost for all kinds if others have changed netorch's tables, or added or deleted one, since the last call."""
        lost = self._monitor.touched() or self._lost
        self._lost = False
        return [Lost(self.kinds)] if lost else []

    def close(self) -> None:
        """Close the sockets; the tables stay."""
        self._monitor.close()
        self._counters.close()
        self._reader.close()
        self._wire.close()

    def _apply_tables(self, ops: Sequence[Op]) -> list[Failure]:
        """Delete tables, and load others with all their contents in one transaction.

        Tables refer to each other by marks and priorities: a packet must not meet an old one and then a new one. Contents of VPCs
        that do not fit are left out; a Lost event makes the agent dump again.
        """
        results: list[tuple[Op, Transaction]] = [(op, self._delete_table(op.obj)) for op in ops if isinstance(op, Delete)]
        loads = [self._reload(op) for op in ops if not isinstance(op, Delete)]
        loaded = self._run(self._texts(loads)) if loads else (0, "")
        if loaded[0]:
            self._lost = True
            loads = fitting(loads, lambda trial: not self._command(self._library.check, self._texts(trial))[0])
            loaded = self._run(self._texts(loads))
        results += [(load, loaded if loaded[0] else self._seal(load)) for load in loads]
        return [_failure(op, number, error) for op, (number, error) in results if number]

    def _texts(self, loads: Sequence[Reload]) -> str:
        counts = self._counts()
        return "".join(text_of(load, counts[str(load.obj.key[2])]) for load in loads)

    def _delete_table(self, table: KernelObject) -> Transaction:
        assert isinstance(table, NftTable)
        number, error = self._run(f"delete table {table.family} {NFT_TABLE}")
        return (0, "") if number == errno.ENOENT else (number, error)

    def _reload(self, op: Op) -> Reload:
        """Return the operation with the contents to load: those that it names, or else those that the kernel has.

        What it names of devices that are gone is left out, and a Lost event makes the agent dump again.
        """
        table = op.obj
        assert isinstance(table, NftTable)
        held = list(objects_of(self.netns, table.family, self._list(table.family)))
        if not isinstance(op, Reload):
            held.sort(key=lambda obj: obj.order)
            return Reload(table, table, tuple(filter(is_words, held)))
        there = {obj.key for obj in held}
        fit = tuple(obj for obj in op.contents if is_words(obj) and (obj.key in there or not isinstance(obj, OnDevice)))
        self._lost |= len(fit) < len(op.contents)
        return Reload(op.old, table, fit)

    def _seal(self, op: Reload) -> Transaction:
        table = op.obj
        assert isinstance(table, NftTable)
        comment = f"{table.digest} {digest(self.netns, table.family, self._list(table.family))}"
        return self._run(f'add set {table.family} {NFT_TABLE} {FINGERPRINT} {{ type mark; comment "{comment}"; }}')

    def _apply_contents(self, ops: Sequence[Op]) -> list[Failure]:
        """Apply all operations in one transaction; if it is refused, bisect to find the culprits.

        Cost: for n operations with k culprits, about k * log2(n) more transactions.
        """
        number, error = self._commit(ops)
        if not number:
            for op in ops:
                self._note_spec(op)
            return []
        if len(ops) == 1:
            gone = isinstance(ops[0], Delete) and number == errno.ENOENT
            return [] if gone else [_failure(ops[0], number, error)]
        half = len(ops) // 2
        return self._apply_contents(ops[:half]) + self._apply_contents(ops[half:])

    def _commit(self, ops: Sequence[Op]) -> Transaction:
        """Apply all or nothing. Sets of chains are created first; if a single operation fails, its sets are deleted again."""
        if only_elements(ops):
            changes = [change for op in ops for change in element_changes(swap.present(op, self._swapped))]
            with suppress(NotPackable):
                return self._wire.commit(transaction(elements.pack(changes, self._spec_of))), ""
        ops = [swap.swapping(op, self._swapped) for op in ops]
        sets = preparations(ops)
        number, error = self._carry_out(sets) if sets else (0, "")
        if number == errno.EEXIST:
            number, error = self._carry_out(preparations(ops, create=False))
        if number:
            return number, error
        number, error = self._carry_out(commands.steps(ops))
        if not number:
            for op in ops:
                self._note_swap(op)
        elif len(ops) == 1 and sets:
            self._carry_out(commands.withdrawal(ops[0]))
        return number, error

    def _carry_out(self, steps: Steps) -> Transaction:
        """Commit steps: hand-packed, or through libnftables if one of them cannot be packed."""
        try:
            packed = messages(steps, self._spec_of)
        except NotPackable:
            return self._run(as_text(steps))
        return self._wire.commit(transaction(packed)), ""

    def _note_swap(self, op: Op) -> None:
        if isinstance(op.obj, NftChain):
            self._swapped.discard(op.obj.name)
            if not isinstance(op, Delete) and swap.is_swapped(op.obj.name, op.obj.rules):
                self._swapped.add(op.obj.name)

    def _spec_of(self, change: ElementChange) -> str:
        return change.spec or self._specs.get((change.family, change.set), "")

    def _note_spec(self, op: Op) -> None:
        if isinstance(op.obj, NftMap):
            self._specs[commands.FAMILY, op.obj.name] = op.obj.spec
            if isinstance(op, Delete):
                del self._specs[commands.FAMILY, op.obj.name]

    def _list(self, family: str) -> list[Block]:
        """Return the contents of netorch's table of the family; empty if there is none. Raises KernelError."""
        blocks = self._reader.table(family)
        if any(map(is_strange, blocks)):
            blocks = in_words(blocks, parse_table(self._listed(family)))
        if family == commands.FAMILY:
            self._swapped = swapped_chains(blocks)
        self._specs |= {(family, block.name): block.spec for block in blocks if block.kind in ("set", "map")}
        return blocks

    def _listed(self, family: str) -> str:
        """Return netorch's table of the family as listed by libnftables; empty if there is none. Raises KernelError."""
        command = f"list table {family} {NFT_TABLE}"
        code, output, error = self._command(self._library.run, command)
        number = _errno_of(error) if code else 0
        if number not in (0, errno.ENOENT):
            raise KernelError(f"nft {command}", number, _first_line(error))
        return "" if number else output

    def _run(self, text: str) -> Transaction:
        """Commit a transaction of nft commands."""
        code, _, error = self._command(self._library.run, text)
        return (_errno_of(error), _first_line(error)) if code else (0, "")

    def _command(self, do: Callable[[str], Answer], text: str) -> Answer:
        try:
            return do(text)
        except OSError as error:
            raise KernelError("open libnftables", error.errno or 0, str(error)) from error


def _held_back(ops: Sequence[Op], failures: Sequence[Failure], no_wait: int) -> list[Failure]:
    """Return the operations that must not follow `failures` as failures themselves, so that the agent tries them again.

    A chain adds no flows if a change of its VPC was refused, or if packets that old rules judged may be in flight: the flows
    would outlive their reasons. It stays paused, and its packets meet rules. A port whose chain was refused gets no guard, which
    would drop what the old chain passes; nor does it join a flowtable. No device joins one that could not be emptied.
    """
    of_vpcs = {failure.op.obj.vni for failure in failures}
    ports = {failure.op.obj.ifname for failure in failures if isinstance(failure.op.obj, PortChain)}
    refused = [failure.op for failure in failures]
    full = {op.obj.key for op in refused if isinstance(op, Delete) and isinstance(op.obj, Flowtable)}
    held = []
    for op in ops:
        if adds_flows(op) and no_wait:
            held.append(_failure(op, no_wait, "packets may be in flight, and the agent cannot wait for them"))
        elif adds_flows(op) and op.obj.vni in of_vpcs:
            held.append(_failure(op, errno.ECANCELED, "another change of its VPC was refused"))
        elif isinstance(op, Create) and isinstance(op.obj, FlowtableDevice) and op.obj.ifname in ports:
            held.append(_failure(op, errno.ECANCELED, "the chain of its port was refused"))
        elif isinstance(op, Create) and isinstance(op.obj, FlowtableDevice) and op.obj.needs in full:
            held.append(_failure(op, errno.ECANCELED, "its flowtable could not be emptied"))
    return held


def _let_packets_leave() -> int:
    """Wait until all packets in flight have left the chains: the kernel does so before it frees a packet socket.

    Source: net/packet/af_packet.c, packet_release: synchronize_net. Cost: milliseconds; nothing with one CPU.

    Returns:
      0, or an errno without having waited: CAP_NET_RAW or a free descriptor is missing. Rules may change all the same: a packet
      in flight may be lost, but none gets further than permitted. A flow that it adds would last, so no chain may add any.
    """
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def _first_line(error: str) -> str:
    return error.partition("\n")[0].removeprefix("Error: ").removeprefix("Could not process rule: ")


def _errno_of(error: str) -> int:
    """Return the errno whose text libnftables reports; EINVAL for its own errors, e.g. syntax errors."""
    return _ERRNO.get(_first_line(error).partition("; did you mean")[0].rpartition(": ")[2], errno.EINVAL)


def _failure(op: Op, number: int, error: str) -> Failure:
    return Failure(op, KernelError(describe(op), number, error))
