"""The border to a lab that runs in the lab kernel or in a user namespace.

Unix sockets do not work across that border; files and one FIFO do. A request is a directory below the mailbox with the file
`request`. The FIFO `notify` carries one line per event to the lab. The output of a command is appended to `out` and `err`, and
`status` is written last. The caller's side polls these files; the lab's side sleeps in read(2) until a line arrives.

The lab's side never opens a file before a line in the FIFO announces it: the guest's kernel would cache its absence.

  run ID             start the request
  data ID BASE64     bytes for its terminal
  size ID ROWS COLS  its terminal's new size
  signal ID NUMBER   a signal for it
"""

from __future__ import annotations

import base64
import contextlib
import errno
import fcntl
import os
import select
import shutil
import signal
import struct
import sys
import tempfile
import termios
import time
import tty
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType

import msgspec

from netorch.errors import LabError
from netorch.lab.kernel import HOST_ONLY_ENVIRONMENT, copy_new
from netorch.store.modes import DIRECTORY_MODE, make_directory

POLL_S = 0.01
READY, FAILED, PROGRESS = "ready", "failed", "progress"
_CHUNK = 1024  # bytes of input per line: a write of 4096 to a FIFO is atomic


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A command to run in the lab; an empty `argv` requests the rows of `inspect`."""

    argv: list[str]
    node: str | None = None
    cwd: str = "/"
    env: dict[str, str] = {}
    tty: bool = False
    has_input: bool = False  # the file `in` is its standard input; otherwise it has none
    rows: int = 24
    cols: int = 80


class Mailbox:
    """The caller's side of the border."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def make(self) -> None:
        """Create the directory and its FIFO."""
        make_directory(self.directory.parent)
        self.directory.mkdir(mode=DIRECTORY_MODE)
        os.mkfifo(self.directory / "notify", 0o600)

    def notify(self, line: str) -> None:
        """Send a line.

        Raises:
          LabError: no reader: the lab is gone.
        """
        try:
            fifo = os.open(self.directory / "notify", os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            raise LabError(f"lab at {self.directory}: no answer; take the lab down and up again") from error
        try:
            data = f"{line}\n".encode()
            while True:
                try:
                    os.write(fifo, data)
                except BlockingIOError:
                    select.select([], [fifo], [])
                else:
                    return
        finally:
            os.close(fifo)

    def call(self, request: Request) -> int:
        """Run a request with the caller's terminal or input; return its exit status. Raises LabError when the lab goes away."""
        with self._post(request) as work, _signals_to(self, work.name):
            if request.tty:
                with _raw_terminal(self, work.name) as terminal:
                    return self._await(work, terminal)
            return self._await(work, None)

    def ask(self, request: Request) -> bytes:
        """Run a request and return its output."""
        with self._post(request) as work:
            while not (work / "status").exists():
                time.sleep(POLL_S)
                self._check()
            return (work / "out").read_bytes()

    @contextlib.contextmanager
    def _post(self, request: Request) -> Iterator[Path]:
        work = None
        try:
            work = Path(tempfile.mkdtemp(prefix="work-", dir=self.directory))
            if request.has_input:
                with (work / "in").open("wb") as file:
                    shutil.copyfileobj(sys.stdin.buffer, file)
            (work / "request").write_bytes(msgspec.json.encode(request))
            (work / "out").touch()
            (work / "err").touch()
            self.notify(f"run {work.name}")
            yield work
        except FileNotFoundError as error:  # one of the mailbox's own files: `lab down` has removed it
            raise self._gone() from error
        finally:
            if work is not None:
                shutil.rmtree(work, ignore_errors=True)

    def _await(self, work: Path, terminal: int | None) -> int:
        with (work / "out").open("rb") as out, (work / "err").open("rb") as err:
            while True:
                ended = (work / "status").exists()  # checked before reading: nothing is written after it
                quiet = not copy_new(out, sys.stdout) | copy_new(err, sys.stderr)
                if ended and quiet:
                    return int((work / "status").read_text())
                if terminal is None:
                    if quiet:
                        time.sleep(POLL_S)
                elif select.select([terminal], [], [], POLL_S if quiet else 0)[0]:
                    data = os.read(terminal, _CHUNK)
                    self.notify(f"data {work.name} {base64.b64encode(data).decode()}")
                if quiet:
                    self._check()

    def _check(self) -> None:
        """Raise LabError when the other side is gone."""
        try:
            os.close(os.open(self.directory / "notify", os.O_WRONLY | os.O_NONBLOCK))
        except OSError as error:
            if error.errno in (errno.ENXIO, errno.ENOENT):
                raise self._gone() from error
            raise

    def _gone(self) -> LabError:
        return LabError(f"lab {self.directory.name}: the lab was taken down during the command")


def outside_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the caller's environment for a command in the lab, without names and paths that differ in the lab."""
    return {
        name: value for name, value in environ.items() if name not in HOST_ONLY_ENVIRONMENT | {"NETORCH_LAB", "NETORCH_STORE"}
    }


def terminal_size(descriptor: int) -> tuple[int, int]:
    """Return rows and columns of a terminal."""
    rows, cols, _, _ = struct.unpack("HHHH", fcntl.ioctl(descriptor, termios.TIOCGWINSZ, bytes(8)))
    return rows or 24, cols or 80


@contextlib.contextmanager
def _raw_terminal(mailbox: Mailbox, work: str) -> Iterator[int]:
    """Pass every key to the lab's terminal, and report changes of size."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)

    def resized(_number: int, _frame: FrameType | None) -> None:
        rows, cols = terminal_size(descriptor)
        mailbox.notify(f"size {work} {rows} {cols}")

    old = signal.signal(signal.SIGWINCH, resized)
    try:
        tty.setraw(descriptor)
        yield descriptor
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
        signal.signal(signal.SIGWINCH, old)


@contextlib.contextmanager
def _signals_to(mailbox: Mailbox, work: str) -> Iterator[None]:
    """Pass Ctrl-C and SIGTERM on to the command; its exit status then shows the effect."""

    def passed(number: int, _frame: FrameType | None) -> None:
        mailbox.notify(f"signal {work} {number}")

    numbers: Sequence[signal.Signals] = (signal.SIGINT, signal.SIGTERM)
    old = {number: signal.signal(number, passed) for number in numbers}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
