"""Handovers that other edges announce to this one: an index of records below `hoststat/<edge>/handover/`."""

from __future__ import annotations

from contextlib import suppress

from netorch.errors import UnreadableRecord
from netorch.model.ids import is_id
from netorch.records.codec import decode_value
from netorch.records.flows import HandedOver, HandoverWord
from netorch.state.flow import Flow


class Handovers:
    """The words of other edges, and the connections that they hand over."""

    def __init__(self) -> None:
        self._words: dict[str, HandoverWord] = {}  # by edge
        self._parts: dict[str, dict[str, tuple[Flow, ...]]] = {}  # by edge and key
        self._unreadable: dict[str, str] = {}  # key of a part -> why it cannot be read

    def update(self, key: str, value: bytes | None) -> None:
        """Add or remove a record. One whose key is neither a word's nor that of a gateway's part says nothing.

        An unreadable word counts as missing. An unreadable part counts as one without connections, so the other parts are not
        held up.
        """
        _, edge, _, *rest = key.split("/")
        match rest:
            case ["word"]:
                self._set_word(key, edge, value)
            case [gateway, part] if is_id(gateway) and part.isdecimal():
                self._set_part(key, edge, value)

    def _set_word(self, key: str, edge: str, value: bytes | None) -> None:
        self._words.pop(edge, None)
        if value is not None:
            with suppress(UnreadableRecord):
                self._words[edge] = decode_value(key, value, HandoverWord)

    def _set_part(self, key: str, edge: str, value: bytes | None) -> None:
        parts = self._parts.setdefault(edge, {})
        parts.pop(key, None)
        self._unreadable.pop(key, None)
        if value is None:
            return
        try:
            parts[key] = decode_value(key, value, HandedOver).flows
        except UnreadableRecord as error:
            parts[key] = ()
            self._unreadable[key] = str(error)

    def word(self, edge: str) -> HandoverWord:
        """Return the last word of an edge; an empty word if there is none."""
        return self._words.get(edge, HandoverWord())

    def flows(self, edge: str) -> dict[str, list[Flow]] | None:
        """Return the connections that an edge hands over, by gateway; None until all parts have arrived."""
        word, parts = self.word(edge), self._parts.get(edge, {})
        if len(parts) != word.parts:
            return None
        found: dict[str, list[Flow]] = {gateway: [] for gateway in word.gateways}
        for key, flows in parts.items():
            found.setdefault(key.split("/")[-2], []).extend(flows)
        return found

    def unreadable(self, edge: str) -> list[str]:
        """Return why parts of an edge's handover cannot be read, in the order of their keys."""
        return [why for key, why in sorted(self._unreadable.items()) if key in self._parts.get(edge, {})]
