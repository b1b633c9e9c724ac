"""Rules of VPCs and ports: from nft's words to the kernel's expressions, and back.

netorch's rules use a small part of nft's language: comparisons of a field with a value, lookups of fields in a set, the
packet's mark and priority, additions to a flowtable, and verdicts. libnftables reads all sets of a table to add or list one
rule; here the cost of a rule is its number of words. One table of fields (wire.fields) serves both directions. Anything not in
it is left to libnftables.

`words_of` only accepts what `expressions_of` would have written: it converts its words back into expressions and compares. So
a rule altered by another program is never taken for one of netorch's.

    ip daddr . th dport . meta l4proto @egress-001388-0000beef.port4 goto sent

    meta load nfproto => 1; cmp eq 1 0x02                   the packet is IPv4: required by `ip daddr`
    payload load 4b @ network + 16 => 1                     the key, in consecutive registers
    payload load 2b @ transport + 2 => 9
    meta load l4proto => 10; byteorder 10 = hton(10)        only in keys of intervals
    lookup 1 set egress-001388-0000beef.port4
    immediate 0 goto sent
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from netorch.drivers.nft.wire import expressions
from netorch.drivers.nft.wire.expressions import AT_LEAST, AT_MOST, EQUAL, UNEQUAL, Expression, register
from netorch.drivers.nft.wire.fields import (
    L4PROTO,
    MARK,
    NFPROTO,
    PRIORITY,
    Fact,
    Field,
    Form,
    fact,
    fact_in,
    field_of,
    fields_at,
    fields_like,
)
from netorch.drivers.nft.wire.messages import VERDICTS, NotPackable

_CODES: Final = {code: word for word, code in VERDICTS.items()}
_WITH_CHAIN: Final = ("jump", "goto")
_SET: Final = ["meta", "mark", "set"], ["meta", "priority", "set"]
_TARGETS: Final = {"mark": (MARK, expressions.META_MARK), "priority": (PRIORITY, expressions.META_PRIORITY)}
_FLOW_ADD: Final = ["flow", "add"]
_MOST_MERGED: Final = 16  # bytes of a register
Rule = tuple[Expression, ...]


def expressions_of(family: str, chain: str, rule: str) -> Rule:
    """Return the expressions of a rule in a chain. Sets named after the chain and a dot hold intervals.

    Raises:
      NotPackable: the rule contains a word unknown to this module.
    """
    writer = _Writer(family, f"{chain}.", rule.split(" "))
    try:
        while writer.place < len(writer.words):
            writer.statement()
    except (ValueError, OSError, OverflowError, IndexError, KeyError) as error:
        raise NotPackable(rule) from error
    return tuple(writer.made)


def words_of(family: str, chain: str, rule: Rule) -> str:
    """Return the words of a rule in a chain.

    Raises:
      NotPackable: `expressions_of` would not create this rule.
    """
    reader = _Reader(family, rule)
    try:
        while reader.place < len(rule):
            reader.statement()
        reader.say_pending()
        words = " ".join(reader.words)
    except (ValueError, OSError, OverflowError, IndexError, KeyError, StopIteration) as error:
        raise NotPackable(str(rule)) from error
    if expressions_of(family, chain, words) != rule:
        raise NotPackable(words)
    return words


class _Writer:
    """Consumes a rule's words from the front and generates expressions."""

    def __init__(self, family: str, own: str, words: list[str]) -> None:
        self.words = words
        self.place = 0
        self.made: list[Expression] = []
        self._family = family
        self._own = own
        self._facts: set[str] = set()
        self._compared: tuple[int, int, bytes] | None = None  # base, offset and value of the last compared payload

    def statement(self) -> None:
        """Consume one match or action."""
        head = self.words[self.place]
        if head in VERDICTS:
            self._take()
            self._add(expressions.verdict(VERDICTS[head], self._take() if head in _WITH_CHAIN else ""))
        elif self.words[self.place : self.place + 3] in _SET:
            self.place += 3
            self._set(*_TARGETS[self.words[self.place - 2]])
        elif self.words[self.place : self.place + 2] == _FLOW_ADD:
            self.place += 2
            self._add(expressions.flow_add(self._set_name()))
        else:
            self._match()

    def _take(self) -> str:
        word = self.words[self.place]
        self.place += 1
        return word

    def _peek(self) -> str:
        return self.words[self.place] if self.place < len(self.words) else ""

    def _add(self, *made: Expression) -> None:
        self.made += made
        self._compared = None

    def _field(self) -> Field:
        field, count = field_of(self.words, self.place)
        self.place += count
        return field

    def _set(self, target: Field, key: int) -> None:
        if self._peek()[:1].isdigit():
            self._add(expressions.immediate(target.form.pack(self._take(), target.size)))
        else:
            field = self._field()
            if self._take() != "map":
                raise NotPackable(" ".join(self.words))
            self._make_sure(field)
            self._add(field.load(1), expressions.lookup(self._set_name(), 1))
        self._add(expressions.set_meta(key))

    def _match(self) -> None:
        fields = [self._field()]
        while self._peek() == ".":
            self._take()
            fields.append(self._field())
        if len(fields) > 1 or self._peek().startswith("@"):
            self._look_up(fields)
        else:
            self._compare(fields[0])

    def _look_up(self, fields: Sequence[Field]) -> None:
        name = self._set_name()
        intervals = name.startswith(self._own)
        if intervals and len(fields) == 1:
            raise NotPackable(name)
        for field in fields:
            self._make_sure(field)
        place = 0
        for field in fields:
            self._add(field.load(register(place)))
            if intervals and field.byteorder is not None:
                self._add(expressions.byteorder(*field.byteorder, register(place)))
            place += -(-field.size // 4)
        self._add(expressions.lookup(name))

    def _set_name(self) -> str:
        word = self._take()
        if not word.startswith("@") or word.count(",") or len(word) == 1:
            raise NotPackable(word)
        return word[1:]

    def _compare(self, field: Field) -> None:
        word, mask = self._take(), field.within
        if word == "&":
            if mask:
                raise NotPackable(field.words)
            mask, word = field.form.pack(self._take(), field.size), self._take()
            if word not in ("==", "!="):
                raise NotPackable(word)
        operator = UNEQUAL if word == "!=" else EQUAL
        value = self._take() if word in ("==", "!=") else word
        if word == "==" and not (mask and not field.within):
            raise NotPackable(" ".join(self.words))
        self._make_sure(field)
        if field.form.is_address and "/" in value:
            self._compare_prefix(field, operator, value)
            return
        first, _, last = value.partition("-")
        if last:
            if mask or operator != EQUAL or not field.form.is_ordered:
                raise NotPackable(value)
            self._compare_range(field, field.form.pack(first, field.size), field.form.pack(last, field.size))
            return
        packed = field.form.pack(value, field.size)
        self._add_match(field, mask, operator, packed)
        if operator == EQUAL and not mask and (known := fact_in(field, packed)):
            self._facts.add(known)

    def _compare_range(self, field: Field, first: bytes, last: bytes) -> None:
        if first >= last:
            raise NotPackable(field.words)
        self._add(field.load(1), expressions.compare(AT_LEAST, first), expressions.compare(AT_MOST, last))

    def _compare_prefix(self, field: Field, operator: int, text: str) -> None:
        """Compare the first bytes; if the prefix ends within a byte, compare all bytes under a mask."""
        word, _, bits = text.partition("/")
        address, length = field.form.pack(word, field.size), int(bits)
        if field.place is None or not 0 <= length < 8 * field.size or int.from_bytes(address, "big") & _hosts(field.size, length):
            raise NotPackable(text)
        if length and length % 8 == 0:
            self._add(expressions.payload(*field.place, length // 8, 1), expressions.compare(operator, address[: length // 8]))
        else:
            network = (_hosts(field.size, 0) ^ _hosts(field.size, length)).to_bytes(field.size, "big")
            self._add_match(field, network, operator, address)

    def _make_sure(self, field: Field) -> None:
        """Add checks for the field's requirements, unless they are already checked."""
        for name in field.needs:
            if name not in self._facts:
                if {"ip", "ip6", "arp"} >= {name} and self._facts & {"ip", "ip6", "arp"}:
                    raise NotPackable(f"{field.words}: the packet is another one")
                need: Fact = fact(name, self._family, "ether" in self._facts)
                self._facts.add(name)
                self._add_match(need.field, b"", EQUAL, need.value)

    def _add_match(self, field: Field, mask: bytes, operator: int, value: bytes) -> None:
        """Add a comparison. If its bytes follow those of the last comparison in the packet, merge both."""
        before = self._compared
        if mask or operator != EQUAL or field.place is None:
            self._add(field.load(1), *([expressions.mask(mask)] if mask else []), expressions.compare(operator, value))
            return
        base, offset = field.place
        if before is not None and before[0] == base and before[1] + len(before[2]) == offset:
            merged = before[2] + value
            if len(merged) <= _MOST_MERGED:
                del self.made[-2:]
                offset, value = before[1], merged
        self._add(expressions.payload(base, offset, len(value), 1), expressions.compare(EQUAL, value))
        self._compared = base, offset, value


class _Reader:
    """Consumes a rule's expressions from the front and generates words.

    A check gets words only if no field requires it.
    """

    def __init__(self, family: str, rule: Rule) -> None:
        self.rule = rule
        self.place = 0
        self.words: list[str] = []
        self._family = family
        self._facts: set[str] = set()
        self._pending: dict[str, str] = {}  # checked facts that no field has required yet, with their words

    def statement(self) -> None:
        """Consume one match or action."""
        expression = self.rule[self.place]
        if expression.kind == "verdict":
            self.place += 1
            self.say_pending()
            code, *chain = (value for _, value in expression.parts)
            self.words.append(_CODES[int.from_bytes(code, "big", signed=True)])
            self.words += [name[:-1].decode() for name in chain]
        elif expression.kind == "immediate":
            name = self._target(self.rule[self.place + 1])
            self.place += 2  # loading the value, and setting the mark or priority to it
            self.say_pending()
            self.words += ["meta", name, "set", _TARGETS[name][0].form.text(dict(expression.parts)[2])]
        elif expression.kind == expressions.FLOW_ADD:
            self.place += 1
            self.say_pending()
            self.words += [*_FLOW_ADD, f"@{expression.parts[0][1][:-1].decode()}"]
        else:
            self._match()

    def _target(self, expression: Expression) -> str:
        return next(name for name, (_, key) in _TARGETS.items() if expression == expressions.set_meta(key))

    def say_pending(self) -> None:
        """Add the words of checks that no field requires. Raises ValueError for checks that only nft itself adds."""
        if not self._pending:
            return
        if not all(self._pending.values()):
            raise ValueError("a comparison that nothing needs")
        self.words += self._pending.values()
        self._facts |= self._pending.keys()
        self._pending = {}

    def _match(self) -> None:
        loads: list[Expression] = []
        while (expression := self.rule[self.place]).kind in ("meta", "ct", "rt", "payload", "exthdr", "byteorder"):
            if expression.kind != "byteorder":
                loads.append(_in_first(expression))
            self.place += 1
        self.place += 1
        parts = dict(expression.parts)
        if expression.kind == "lookup":
            self._looked_up(loads, parts[1][:-1].decode(), to_mark=3 in parts)
        elif len(loads) == 1 and expression.kind == "bitwise":
            self.place += 1
            self._compared(loads[0], parts[4], dict(self.rule[self.place - 1].parts))
        elif len(loads) == 1 and expression.kind == "cmp":
            self._compared(loads[0], b"", parts)
        else:
            raise ValueError(expression.kind)

    def _looked_up(self, loads: Sequence[Expression], name: str, *, to_mark: bool) -> None:
        fields = [self._known(fields_like(load)) for load in loads]
        self.say_pending()
        words = " . ".join(field.words for field in fields)
        if to_mark:
            self.place += 1
            self.words += ["meta", "mark", "set", words, "map", f"@{name}"]
        else:
            self.words += [words, f"@{name}"]

    def _compared(self, load: Expression, mask: bytes, comparison: dict[int, bytes]) -> None:
        operator, value = int.from_bytes(comparison[2], "big"), comparison[3]
        if operator == AT_LEAST:
            self._in_range(self._known(fields_like(load)), value)
        elif load.kind == "payload" and not mask:
            base, offset, _ = (int.from_bytes(part, "big") for _, part in load.parts[1:])
            self._compared_bytes(base, offset, value, fields_like(load), equal=operator == EQUAL)
        else:
            field = self._known(fields_like(load))
            if operator == EQUAL and not mask and fact_in(field, value):
                self._made_sure(field, value)
            else:
                self._say(field, mask, value, equal=operator == EQUAL)

    def _in_range(self, field: Field, first: bytes) -> None:
        last = dict(self.rule[self.place].parts)[3]
        self.place += 1
        self.say_pending()
        self.words += [field.words, f"{field.form.text(first)}-{field.form.text(last)}"]

    def _compared_bytes(self, base: int, offset: int, value: bytes, alike: Sequence[Field], *, equal: bool) -> None:
        """Consume a comparison of bytes: one field, an address prefix, or several fields at once."""
        named = [field for field in fields_at(base, offset) if self._can_be(field)]
        field = self._known(named or alike)
        if field.size > len(value):
            self.say_pending()
            address = field.form.text(value.ljust(field.size, b"\0"))
            self.words += [field.words, *(() if equal else ("!=",)), f"{address}/{8 * len(value)}"]
            return
        own, rest = value[: field.size], value[field.size :]
        if equal and fact_in(field, own):
            self._made_sure(field, own)
        else:
            self._say(field, b"", own, equal=equal)
        if rest:
            self._compared_bytes(base, offset + field.size, rest, (), equal=equal)

    def _made_sure(self, field: Field, value: bytes) -> None:
        spoken = field is L4PROTO or (field is NFPROTO and self._family == "inet")
        self._pending[fact_in(field, value)] = f"{field.words} {field.form.text(value)}" if spoken else ""

    def _say(self, field: Field, mask: bytes, value: bytes, *, equal: bool) -> None:
        self.say_pending()
        form: Form = field.form
        self.words.append(field.words)
        if mask and form.is_address:
            length = int.from_bytes(mask, "big").bit_count()
            self.words += [*(() if equal else ("!=",)), f"{form.text(value)}/{length}"]
            return
        if mask and not field.within:
            self.words += ["&", form.text(mask), *(("==",) if equal else ())]
        self.words += [*(() if equal else ("!=",)), form.text(value)]

    def _known(self, fields: Sequence[Field]) -> Field:
        """Return the intended field: of those that the packet can have, as far as known, the one with the most requirements."""
        possible = [field for field in fields if self._can_be(field)]
        field = possible[0] if len(possible) == 1 else max(possible, key=lambda field: len(field.needs))
        for name in field.needs:
            if name in self._pending:
                del self._pending[name]
                self._facts.add(name)
        return field

    def _can_be(self, field: Field) -> bool:
        return all(name in self._facts or name in self._pending for name in field.needs)


@lru_cache(maxsize=1024)
def _in_first(load: Expression) -> Expression:
    """Return the expression with the first register as its target. Raises KeyError if it is no load."""
    parts = dict(load.parts)
    number = 1
    if number not in parts:
        raise KeyError(load.kind)
    return Expression(load.kind, tuple((kind, b"\0\0\0\1" if kind == number else value) for kind, value in load.parts))


def _hosts(size: int, length: int) -> int:
    return (1 << (8 * size - length)) - 1
