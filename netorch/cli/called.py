"""How this command line was called: a command that it prints must run as printed, and errors are printed in its format.

Texts of all packages write a command as `netorch sg rule add ...`, which is how somebody calls it who gives no option.
The options that say which cloud is meant and who acts are put in here, where texts become output.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import dropwhile
from typing import Final

from netorch.cli.words import COMMANDS, OPERATORS, OUTSIDE

LAB: Final = "NETORCH_FROM_LAB"  # tells a command that is carried out inside a lab by which name it was sent there
_COMMAND = re.compile(
    r"(?<!-- )\bnetorch (?=("
    + "|".join(map(re.escape, sorted(COMMANDS, key=len, reverse=True)))
    + r")\b(?!-)( (?:pool|audit)\b)?)"
)


class _Call:
    place: tuple[str, ...] = ()  # options that say which cloud
    owner: tuple[str, ...] = ()


@contextmanager
def from_lab(name: str) -> Iterator[None]:
    """Let what is started meanwhile know by which option it was sent into a lab; nothing is to be known of a variable."""
    before = os.environ.pop(LAB, None)
    if name:
        os.environ[LAB] = name
    try:
        yield
    finally:
        os.environ.pop(LAB, None)
        if before is not None:
            os.environ[LAB] = before


def remember(*, store: str | None, owner: str | None) -> None:
    """Keep the options that were given in words; what stands in the environment stands there for the next command, too."""
    lab = os.environ.get(LAB)
    _Call.place = (*(("--lab", lab) if lab else ()), *(("--store", store) if store else ()))
    _Call.owner = ("--owner", owner) if owner else ()


def as_called(text: str) -> str:
    """Return a text whose commands are spelled with the options that this one was called with."""
    if not (_Call.place or _Call.owner):
        return text
    return _COMMAND.sub(lambda found: _spelled(found[1] + (found[2] or "")), text)


def _spelled(command: str) -> str:
    if command in OUTSIDE:
        return "netorch "
    options = (*_Call.place, *(() if command in OPERATORS else _Call.owner))
    return " ".join(("netorch", *map(shlex.quote, options), ""))


def wants_machine_format(arguments: Sequence[str]) -> bool:
    """Return whether a command is asked for json or yaml, even if its line cannot be parsed."""
    ours = arguments[: arguments.index("--")] if "--" in arguments else arguments
    own = " ".join(dropwhile(lambda word: word not in COMMANDS, ours))
    return re.search(r"(^| )(-o ?|--output[ =])(json|yaml)( |$)", own) is not None
