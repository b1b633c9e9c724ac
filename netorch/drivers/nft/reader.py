"""Read a table by nf_tables netlink: one dump per kind of object, and one per set for its elements.

libnftables reads the same, but searches all other sets for each set, and all sets for each rule.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Final

from netorch.drivers.netlink import Channel, attr_text, attrs
from netorch.drivers.nft.listing import Block, is_shared
from netorch.drivers.nft.monitor import NETLINK_NETFILTER
from netorch.drivers.nft.wire import decode, set_words
from netorch.drivers.nft.wire.elements import of_set
from netorch.drivers.nft.wire.flowtables import flowtable
from netorch.drivers.nft.wire.messages import (
    FAMILIES,
    GET_CHAIN,
    GET_ELEMENTS,
    GET_FLOWTABLE,
    GET_GENERATION,
    GET_OBJECT,
    GET_RULE,
    GET_SET,
    GET_TABLE,
)
from netorch.errors import KernelError
from netorch.state.owner import NFT_TABLE

_TRIES: Final = 5
_NAMED: Final = attr_text(decode.TABLE, NFT_TABLE)


class Reader:
    """A socket in one namespace. Two threads must not use it at once."""

    def __init__(self, netns_fd: int) -> None:
        """Open the namespace. Raises OSError."""
        self._channel = Channel(netns_fd, NETLINK_NETFILTER)

    def tables(self) -> list[bytes]:
        """Return a message body for each table of the namespace, whoever owns it. Raises KernelError."""
        try:
            return [body for _, _, body in self._channel.dump(GET_TABLE, bytes(decode.NFGENMSG))]
        except OSError as error:
            raise KernelError("read nft tables", error.errno or 0, str(error)) from error

    def table(self, family: str) -> list[Block]:
        """Return the contents of netorch's table of a family; empty if there is none. Raises KernelError.

        The table is read again if the namespace's ruleset changed during the read; after the last try, that result is
        returned.
        """
        for swapped in range(_TRIES):
            try:
                before = self._generation()
                blocks = list(self._blocks(family))
                if self._generation() == before:
                    break
            except OSError as error:
                if error.errno != errno.ENOENT or swapped == _TRIES - 1:  # a set may go before its elements are requested
                    raise KernelError(f"read nft table {family} {NFT_TABLE}", error.errno or 0, str(error)) from error
        return blocks

    def close(self) -> None:
        """Close the socket."""
        self._channel.close()

    def _blocks(self, family: str) -> Iterator[Block]:
        tables = [decode.thing("table", found) for found in self._found(GET_TABLE, family, b"")]
        if not tables:
            return
        yield from tables
        yield from (decode.thing("object", found) for found in self._found(GET_OBJECT, family, _NAMED))
        yield from map(flowtable, self._found(GET_FLOWTABLE, family, _NAMED))
        for found in list(self._found(GET_SET, family, _NAMED)):
            block, lasting, reading = set_words.found_set(found)
            if lasting:
                for body in self._channel.stream(GET_ELEMENTS, of_set(family, block.name)):
                    block.elements += set_words.elements_in(body[2], reading)
            yield block
        yield from self._chains(family)

    def _chains(self, family: str) -> Iterator[Block]:
        blocks = {block.name: block for block in map(decode.chain, self._found(GET_CHAIN, family, b""))}
        shared = {block.name for block in blocks.values() if is_shared(block)}
        for found in self._found(GET_RULE, family, _NAMED):
            name, line = decode.rule(family, found, shared)
            if name in blocks:
                blocks[name].lines.append(line)
        yield from blocks.values()

    def _found(self, kind: int, family: str, body: bytes) -> Iterator[dict[int, bytes]]:
        """Yield the attributes of each message of a dump that is about netorch's table."""
        head = bytes((FAMILIES[family], 0, 0, 0))
        for _, _, answer in self._channel.stream(kind, head + body):
            found = attrs(answer, decode.NFGENMSG)
            if decode.is_ours(found):
                yield found

    def _generation(self) -> bytes | None:
        return self._channel.get(GET_GENERATION, bytes(decode.NFGENMSG))
