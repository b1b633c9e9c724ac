"""The options of this invocation: a printed command must run as printed, and errors are printed in the requested format.

Texts of all packages write a command without options, as `netorch sg rule add ...`. This module inserts the options for
the cloud and the owner when texts become output. A lab has no systemd, so it replaces the command that starts an agent. Each
host of a lab is a node, so it replaces what says where a command for one host runs.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import dropwhile
from pathlib import Path
from typing import Final

from netorch.cli.words import COMMANDS, OPERATORS, OUTSIDE

LAB: Final = "NETORCH_FROM_LAB"  # tells a command that runs inside a lab the lab's name from the command line
LAB_DIRECTORY: Final = "NETORCH_LAB_DIR"  # every command inside a lab has it: LABS/NAME
LABS: Final = Path("/run/netorch/lab")
_COMMAND = re.compile(
    r"(?<!-- )\bnetorch (?=("
    + "|".join(map(re.escape, sorted(COMMANDS, key=len, reverse=True)))
    + r")\b(?!-)( (?:pool|audit)\b)?)"
)
_START = re.compile(r" on (\S+): systemctl start netorch-agent\b")  # netorch.records.errors.start_agent
_ELSEWHERE = re.compile(r"\brun this on the host[^;]*; in a lab: (netorch lab exec --node \S+) LAB\b")  # diagnose.host.drift


class _Call:
    lab: str = ""  # the lab in which this command runs
    place: tuple[str, ...] = ()  # options that select the cloud
    owner: tuple[str, ...] = ()


@contextmanager
def from_lab(name: str) -> Iterator[None]:
    """Tell child processes the lab's name from the command line. Without a name, the variable is removed."""
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
    """Keep the options from the command line. Those from the environment also apply to the next command."""
    lab = os.environ.get(LAB)
    inside = Path(os.environ.get(LAB_DIRECTORY, ""))
    _Call.lab = lab or (inside.name if inside.parent == LABS else "")
    _Call.place = (*(("--lab", lab) if lab else ()), *(("--store", store) if store else ()))
    _Call.owner = ("--owner", owner) if owner else ()


def as_called(text: str) -> str:
    """Return a text in which commands have the options of this invocation; in a lab, those for one host are the lab's."""
    if _Call.lab:
        text = _START.sub(lambda found: f": netorch lab restart-agent {shlex.quote(_Call.lab)} {found[1]}", text)
        text = _ELSEWHERE.sub(lambda found: f"run {found[1]} {shlex.quote(_Call.lab)}", text)
    if not (_Call.place or _Call.owner):
        return text
    return _COMMAND.sub(lambda found: _spelled(found[1] + (found[2] or "")), text)


def _spelled(command: str) -> str:
    if command in OUTSIDE:
        return "netorch "
    options = (*_Call.place, *(() if command in OPERATORS else _Call.owner))
    return " ".join(("netorch", *map(shlex.quote, options), ""))


def wants_machine_format(arguments: Sequence[str]) -> bool:
    """Return whether the output format is json or yaml, even if the command line cannot be parsed."""
    ours = arguments[: arguments.index("--")] if "--" in arguments else arguments
    own = " ".join(dropwhile(lambda word: word not in COMMANDS, ours))
    return re.search(r"(^| )(-o ?|--output[ =])(json|yaml)( |$)", own) is not None
