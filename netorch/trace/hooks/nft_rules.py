"""One rule in nft syntax, parsed into steps for a packet. It knows the words that netorch's own tables use.

An unknown word is an error that names the rule: a trace that guesses is worse than none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import Enum
from functools import lru_cache
from operator import and_, or_
from typing import Final

import msgspec
from msgspec import structs

from netorch.errors import TraceError
from netorch.model.packet import ACK, FIN, RST, SYN
from netorch.model.security import TCP
from netorch.trace.hooks.jhash import jhash
from netorch.trace.hooks.skb import CT_STATES, FIELDS, Field, Skb, Value, raw_field
from netorch.trace.hooks.values import Table, parse_span


class Word(Enum):
    """The kind of a verdict."""

    ACCEPT = "accept"
    DROP = "drop"
    RETURN = "return"
    GOTO = "goto"
    JUMP = "jump"


class Verdict(msgspec.Struct, frozen=True):
    """A rule's verdict. `chain` is the target of GOTO and JUMP."""

    word: Word
    chain: str = ""


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """A rule that led to a verdict on a packet."""

    chain: str
    rule: str
    counter: str = ""  # the named counter that counted the packet


Sets = Mapping[str, Table]
# A step returns False if the rule does not match, a verdict, or True to continue.
Step = Callable[[Skb, Sets], "Verdict | bool"]
_TOKEN: Final = re.compile(r'"[^"]*"|@[a-z]+,\d+,\d+|[{}]|,|[^\s{},]+')
# Statements without effect on a single packet -> number of words. A single packet is within every limit.
# Statements without effect on a verdict, by their words: limit rate R burst N packets; log prefix P group G snaplen N.
_UNHEARD: Final = {"limit": 6, "log": 7}
_OPERATORS: Final = {"|": or_, "&": and_}
_TCP_FLAGS: Final = {"fin": FIN, "syn": SYN, "rst": RST, "ack": ACK}
_BITMASKS: Final = frozenset({"ct state", "ct status"})


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """A parsed rule."""

    text: str
    steps: tuple[Step, ...]
    counter: str = ""

    def evaluate(self, skb: Skb, sets: Sets) -> Verdict | None:
        """Return the rule's verdict on a packet, or None; may change the packet's marks."""
        for step in self.steps:
            outcome = step(skb, sets)
            if outcome is False:
                return None
            if isinstance(outcome, Verdict):
                return outcome
        return None


@lru_cache(maxsize=65536)
def parse_rule(text: str) -> Rule:
    """Return a rule. Raises TraceError for unknown words."""
    parser = _Parser(text)
    try:
        while parser.words:
            parser.statement()
    except (ValueError, IndexError, KeyError) as error:
        raise TraceError(f"rule {text!r}: cannot be followed: {error}; trace understands netorch's own rules only") from error
    return Rule(text=text, steps=tuple(parser.steps), counter=parser.counter)


def parse_verdict(text: str) -> Verdict | None:
    """Return the verdict in a text, or None if it is something else."""
    word, _, chain = text.partition(" ")
    if word not in {known.value for known in Word}:
        return None
    return Verdict(Word(word), chain)


class _Parser:
    """Consumes a rule's words and turns them into steps."""

    def __init__(self, text: str) -> None:
        self.words: list[str] = [word.strip('"') for word in _TOKEN.findall(text)]
        self.steps: list[Step] = []
        self.counter = ""

    def statement(self) -> None:
        """Parse one match or action."""
        head = self.words[0]
        if head in ("accept", "drop", "return"):
            self._always(Verdict(Word(self._take())))
        elif head == "notrack":
            self._take()
            self.steps.append(_untrack)
        elif self.words[:3] == ["ip", "saddr", "set"]:
            address = self.words[3]
            del self.words[:4]
            self.steps.append(lambda skb, sets: _rename(skb, address))
        elif self.words[:2] == ["tcp", "flags"]:
            self._tcp_flags()
        elif self.words[:2] == ["tcp", "option"]:  # a connection's MSS clamp, which does not affect a verdict
            del self.words[: 7 if self.words[5] == "rt" else 6]
        elif head in ("snat", "dnat"):
            self._translation()
        elif self.words[:4] == ["ct", "original", "zone", "set"]:
            del self.words[:4]
            self._zone()
        elif head == "reject":  # the packet itself ends at this point
            for word in ("reject", "with", "tcp", "reset"):
                self._take(word)
            self._always(Verdict(Word.DROP))
        elif head in ("goto", "jump"):
            self._always(Verdict(Word(self._take()), self._take()))
        elif head == "counter":
            self._take("counter")
            self._take("name")
            self.counter = self._take()
        elif head == "update":  # a set of rate limits; a single packet exceeds none
            over = "over" in self.words
            del self.words[: self.words.index("}") + 1]
            self.steps.append(lambda skb, sets: not over)
        elif head in _UNHEARD:
            del self.words[: _UNHEARD[head]]
        elif head == "flow":
            self._flow()
        elif head.startswith("@nh") and self.words[1] == "set":  # a guard's flag of a SYN, or its end: no rule sees the flag
            del self.words[:5]
        elif self.words[1:3] in (["mark", "set"], ["priority", "set"], ["zone", "set"]):
            self._assignment(f"{self._take()}_{self._take()}")
        else:
            self._match()

    def _take(self, wanted: str = "") -> str:
        word: str = self.words.pop(0)
        if wanted and word != wanted:
            raise ValueError(f"{word!r} in place of {wanted!r}")
        return word

    def _always(self, verdict: Verdict) -> None:
        self.steps.append(lambda skb, sets: verdict)

    def _tcp_flags(self) -> None:
        """Parse `tcp flags & (FLAG | FLAG) == FLAG`."""
        end = self.words.index("==")
        masked = [word.strip("()") for word in self.words[3:end] if word != "|"]
        mask, wanted = sum(_TCP_FLAGS[word] for word in masked), _TCP_FLAGS[self.words[end + 1]]
        del self.words[: end + 2]
        self.steps.append(lambda skb, sets: skb.packet.protocol == TCP and skb.packet.flags & mask == wanted)

    def _translation(self) -> None:
        """Parse `snat ip to ADDRESS[:PORTS]`, or the same of `dnat` with one port."""
        translate = {"snat": _translated, "dnat": _sent_to}[self._take()]
        for word in ("ip", "to"):
            self._take(word)
        address, _, ports = self._take().partition(":")
        first, _, last = ports.partition("-")
        span = (int(first), int(last or first)) if ports else None
        self.steps.append(lambda skb, sets: translate(skb, address, span))

    def _flow(self) -> None:
        for word in ("flow", "add"):
            self._take(word)
        name = self._take().removeprefix("@")
        self.steps.append(lambda skb, sets: _add_flow(skb, name))

    def _zone(self) -> None:
        number = int(self._take(), 0)
        self.steps.append(lambda skb, sets: _assign(skb, "ct_zone", number))

    def _assignment(self, target: str) -> None:
        self._take("set")
        attribute = target if target.startswith("ct_") else target.removeprefix("meta_")
        if self.words[0][0].isdigit():
            word = self._take()
            names = FIELDS["meta", "priority"].names if attribute == "priority" else {}
            number = names[word] if word in names else int(word, 0)
            self.steps.append(lambda skb, sets: _assign(skb, attribute, number))
            return
        fields = self._fields()
        operator = self._take()
        if operator == "map":
            name = self._take().removeprefix("@")
            self.steps.append(lambda skb, sets: _assign(skb, attribute, _mapped(skb, sets, fields, name)))
        else:
            bits = int(self._take(), 0)
            combine = _OPERATORS[operator]
            self.steps.append(lambda skb, sets: _assign(skb, attribute, combine(_number(fields[0].read(skb)), bits)))

    def _fields(self) -> tuple[Field, ...]:
        fields = [self._field()]
        while self.words and self.words[0] == ".":
            self._take()
            fields.append(self._field())
        return tuple(fields)

    def _field(self) -> Field:
        for length in (5, 4, 3, 2, 1):
            field = FIELDS.get(tuple(self.words[:length]))
            if field is not None:
                del self.words[:length]
                return field
        if self.words[0].startswith("@"):
            return raw_field(self._take(), self._mask())
        if self.words[0] == "jhash":
            return self._hash()
        raise ValueError(f"{' '.join(self.words[:2])!r} is not known")

    def _hash(self) -> Field:
        """Parse `jhash FIELD . FIELD mod N seed SEED`."""
        self._take("jhash")
        hashed = self._fields()
        self._take("mod")
        modulus = int(self._take())
        self._take("seed")
        seed = int(self._take(), 0)

        def read(skb: Skb) -> int | None:
            values = _values_of(skb, hashed)
            if values is None:
                return None
            words = [_number(value) << field.shift for field, value in zip(hashed, values, strict=True)]
            return jhash(words, modulus, seed)

        return Field(words="jhash", read=read)

    def _mask(self) -> str:
        if self.words[:1] != ["&"]:
            return ""
        self._take()
        return self._take()

    def _match(self) -> None:
        fields = self._fields()
        word = self._take()
        if word == "vmap":
            name = self._take().removeprefix("@")
            self.steps.append(lambda skb, sets: _verdict(skb, sets, fields, name))
        elif word.startswith("@"):
            name = word[1:]
            self.steps.append(lambda skb, sets: _look_up(skb, sets, fields, name) is not None)
        elif word == "&" and fields[0].words in _BITMASKS:
            bits, wanted = self._take(), {"!=": True, "==": False}[self._take()]
            self._take("0x0")
            self.steps.append(_comparison(fields[0], [bits], wanted=wanted))
        else:
            wanted = word not in ("!=",)
            texts = self._values(self._take() if word in ("!=", "==") else word)
            self.steps.append(_comparison(fields[0], texts, wanted=wanted))

    def _values(self, first: str) -> list[str]:
        """Return the values of a list, with or without braces. Its first word is already taken."""
        braces = first == "{"
        texts = [self._take() if braces else first]
        while self.words and self.words[0] == ",":
            self._take()
            texts.append(self._take())
        if braces:
            self._take("}")
        return texts


def _comparison(field: Field, texts: list[str], *, wanted: bool) -> Step:
    spans = [parse_span(field, text) for text in texts]
    if field.words in _BITMASKS:
        bits = sum(int(first) for first, _ in spans)
        return lambda skb, sets: bool(_number(field.read(skb)) & bits) is wanted

    def compare(skb: Skb, sets: Sets) -> bool:
        value = field.read(skb)
        if value is None:
            return False
        # Both ends of a span have the type of the field, as has the value.
        return any(first <= value <= last for first, last in spans) is wanted  # type: ignore[operator]

    return compare


def _values_of(skb: Skb, fields: tuple[Field, ...]) -> tuple[Value, ...] | None:
    values = tuple(value for field in fields if (value := field.read(skb)) is not None)
    return values if len(values) == len(fields) else None


def _look_up(skb: Skb, sets: Sets, fields: tuple[Field, ...], name: str) -> str | None:
    table = sets.get(name)
    if table is None:
        raise TraceError(f"set {name}: a rule refers to it, but it does not exist; the host's kernel has drifted")
    values = _values_of(skb, fields)
    if values is None:
        return None
    try:
        return table.find(fields, values)
    except ValueError as error:
        raise TraceError(f"set {name}: an element cannot be read: {error}; trace understands netorch's own sets only") from error


def _verdict(skb: Skb, sets: Sets, fields: tuple[Field, ...], name: str) -> Verdict | bool:
    text = _look_up(skb, sets, fields, name)
    return False if text is None else parse_verdict(text) or False


def _mapped(skb: Skb, sets: Sets, fields: tuple[Field, ...], name: str) -> int | None:
    text = _look_up(skb, sets, fields, name)
    return None if text is None else int(text, 0)


def _assign(skb: Skb, attribute: str, value: int | None) -> bool:
    """Set a mark and continue. A failed look-up ends the rule, as in the kernel."""
    if value is None:
        return False
    setattr(skb, attribute, value)
    return True


def _translated(skb: Skb, address: str, ports: tuple[int, int] | None) -> Verdict:
    """Translate a packet's source. A port in the range stays, as in Linux while it is free; else Linux picks a random one."""
    port = skb.packet.source_port
    if ports is not None and not ports[0] <= port <= ports[1]:
        port = ports[0]
    skb.packet = structs.replace(skb.packet, source=address, source_port=port)
    return Verdict(Word.ACCEPT)


def _sent_to(skb: Skb, address: str, ports: tuple[int, int] | None) -> Verdict:
    """Translate a packet's destination."""
    port = ports[0] if ports is not None else skb.packet.destination_port
    skb.packet = structs.replace(skb.packet, destination=address, destination_port=port)
    skb.ct_dnat = True
    return Verdict(Word.ACCEPT)


def _rename(skb: Skb, source: str) -> bool:
    skb.packet = msgspec.structs.replace(skb.packet, source=source)
    return True


def _add_flow(skb: Skb, flowtable: str) -> bool:
    skb.flowtable = flowtable
    return True


def _untrack(skb: Skb, sets: Sets) -> bool:
    skb.ct_state = CT_STATES["untracked"]
    return True


def _number(value: Value | None) -> int:
    return value if isinstance(value, int) else 0
