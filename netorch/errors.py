"""Every error netorch raises on purpose.

NetorchError                  exit 1
|-- SpecError                 exit 65  a file that a user gave is wrong or missing; carries every problem found
|-- ApiError                  exit 1   an action was refused; carries EC2's error code
|-- StoreError                exit 1
|   |-- Compacted                      the revision asked for is gone: list again, then watch
|   |-- FutureRevision                 the store is older than the reader: it was restored; list again
|   |-- OtherHistory                   the store is a copy that went on by itself: what the reader saw did not happen in it
|   |-- Conflict                       another writer was faster more often than we retried
|   |-- StoreUnavailable               the back end cannot be reached or is damaged
|   |   |-- NoStore                    there is no store, and there never was one
|   |   `-- StoreDenied                the store knows who asks, and this user may not do that
|   `-- UnreadableRecord               one record is damaged; what it belongs to is left alone until it is repaired
|       `-- NewerRecord                a newer version wrote it; what it belongs to is left alone until this one is upgraded
|-- CompileError              exit 1   a resource nobody compiles, or two compilers that disagree
|-- TraceError                exit 1   a packet cannot be followed: a rule in words that `trace` does not know, a table of others
|-- KernelError               exit 1   the kernel refused; carries errno
|-- IdentityError             exit 1   a token, key or certificate is wrong, or was refused
`-- LabError                  exit 1   the lab cannot be built here; says what to install
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import ClassVar, Final

import msgspec


def printable(text: str) -> str:
    """Return a text in which whatever is not printable (control and escape characters, turns of direction) is spelled out."""
    return text if text.isprintable() else "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


class NetorchError(Exception):
    """Base of all; the command line prints its text after `error:` and leaves with `exit_code`."""

    exit_code: ClassVar[int] = 1


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One mistake in a user's text: where it is, what was found there, what to do about it."""

    path: str
    what: str
    fix: str
    line: int = 0

    def text(self, source: str) -> str:
        """Return `vpc.yaml:12: $.vpcs[0].cidr: what is wrong; what to do`; the line is left out when unknown."""
        where = f"{source}:{self.line}" if self.line else source
        return f"{where}: {self.path}: {self.what}; {self.fix}"


class SpecError(NetorchError):
    """A vpc.yaml or topology file is wrong. Nothing was stored; the user repairs the file and resubmits."""

    exit_code = 65  # EX_DATAERR of sysexits.h: 2 means that a command has found a difference, and CI must tell them apart

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        self.source = source
        self.problems = tuple(problems)
        super().__init__("\n".join(problem.text(source) for problem in self.problems))


class ApiError(NetorchError):
    """An action of `netorch.control` was refused. `code` is EC2's, e.g. InvalidSubnet.Conflict."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(f"{code}: {message}")


class StoreError(NetorchError):
    """The store could not do what was asked."""


class Compacted(StoreError):
    """The wanted revision has been compacted away; list the prefix again and watch from there."""

    def __init__(self, compact_revision: int) -> None:
        self.compact_revision = compact_revision
        super().__init__(f"store: revisions up to {compact_revision} are compacted; list again")


class FutureRevision(StoreError):
    """The store has not reached the wanted revision: it was restored from a backup; list again."""


class OtherHistory(StoreError):
    """What was seen did not happen in this store: it was restored from a backup and written to since."""


class Conflict(StoreError):
    """A transaction lost the race too often; try again when the other writers have finished."""


class StoreUnavailable(StoreError):
    """The store's file or server cannot be used; the text says why and what to do."""


class NoStore(StoreUnavailable):
    """No store was ever made there."""


_STORE_CHECK: Final = "`netorch store check` shows the operator how to repair it"


class StoreDenied(StoreUnavailable):
    """The store refuses this user's certificate, or it may not read or write what was asked for."""


class UnreadableRecord(StoreError):
    """The value of a key is wrong or missing. Everything else goes on, and the operator repairs it."""

    def __init__(self, key: str, what: str, beside: str = "", advice: str = _STORE_CHECK) -> None:
        self.key = key
        self.beside = beside  # the key of another record, of which one of the two is wrong
        self.what = printable(what)
        super().__init__(f"{printable(key)}: the record {what}; {advice}")


class NewerRecord(UnreadableRecord):
    """A record, or a kind of record, of a newer version: it is not damaged, but this version does not know what it asks for."""

    def __init__(self, key: str, what: str) -> None:
        advice = "upgrade netorch here"
        super().__init__(key, what, advice=advice)
        self.what = f"{self.what}; {advice}"


class CompileError(NetorchError):
    """A VPC cannot be turned into kernel objects; the rest of the host is not affected."""


class TraceError(NetorchError):
    """A packet cannot be followed through a host's objects; the text names the rule or the table. Nothing is guessed."""


class KernelError(NetorchError):
    """The kernel refused an operation. `errno` is the kernel's own number."""

    def __init__(self, operation: str, errno: int, detail: str = "") -> None:
        self.operation = operation
        self.errno = errno
        text = os.strerror(errno) if errno else "refused"
        super().__init__(f"{operation}: {text} (errno {errno})" + (f": {detail}" if detail else ""))


class IdentityError(NetorchError):
    """A token, key or certificate is wrong, or the enrolment service refused it. The text never has a secret."""


class LabError(NetorchError):
    """The lab cannot run here; the text says which feature or package is missing and what to do."""
