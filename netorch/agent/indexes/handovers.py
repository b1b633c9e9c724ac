"""What other edges say of gateways that move between them and this one: an index of records below `hoststat/<edge>/handover/`."""

from __future__ import annotations

from contextlib import suppress

from netorch.errors import UnreadableRecord
from netorch.records.codec import decode_value
from netorch.records.flows import HandedOver, HandoverWord
from netorch.state.flow import Flow


class Handovers:
    """The words of other edges, and the connections that they hand over."""

    def __init__(self) -> None:
        self._words: dict[str, HandoverWord] = {}  # by edge
        self._parts: dict[str, dict[str, tuple[Flow, ...]]] = {}  # by edge and key

    def update(self, key: str, value: bytes | None) -> bool:
        """Take in a record, or that it is gone; return whether it is one of these. What cannot be read is not there."""
        root, _, rest = key.partition("/handover/")
        edge = root.removeprefix("hoststat/")
        if not rest:
            return False
        if rest == "word":
            self._words.pop(edge, None)
        else:
            self._parts.get(edge, {}).pop(key, None)
        if value is not None:
            with suppress(UnreadableRecord):
                if rest == "word":
                    self._words[edge] = decode_value(key, value, HandoverWord)
                else:
                    self._parts.setdefault(edge, {})[key] = decode_value(key, value, HandedOver).flows
        return True

    def word(self, edge: str) -> HandoverWord:
        """Return what an edge has said last; nothing of note if it has said nothing."""
        return self._words.get(edge, HandoverWord())

    def flows(self, edge: str) -> dict[str, list[Flow]] | None:
        """Return the connections that an edge hands over, by gateway; None while not all of them have come."""
        word, parts = self.word(edge), self._parts.get(edge, {})
        if len(parts) != word.parts:
            return None
        found: dict[str, list[Flow]] = {gateway: [] for gateway in word.gateways}
        for key, flows in parts.items():
            found.setdefault(key.split("/")[-2], []).extend(flows)
        return found
