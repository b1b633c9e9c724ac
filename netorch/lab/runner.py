"""The lab's side of the border: builds a lab in its own kernel or namespace, then serves the requests on stdin.

python -m netorch.lab.runner MAILBOX     the mailbox holds `topology.json`; see netorch.lab.mailbox for the rest
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import os
import pty
import shutil
import struct
import subprocess
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import msgspec

from netorch.errors import LabError
from netorch.lab import hosts
from netorch.lab.mailbox import FAILED, PROGRESS, READY, Request
from netorch.lab.nodes import environment
from netorch.lab.topology import from_json
from netorch.lab.wiring import in_node

INSIDE = Path("/run/netorch/lab")  # in the guest or namespace: SQLite and sockets work there
_DROP_CACHES = Path("/proc/sys/vm/drop_caches")


class Runner:
    """The requests in progress."""

    def __init__(self, mailbox: Path, record: hosts.Record, directory: Path, own_kernel: bool) -> None:
        self.mailbox = mailbox
        self.record = record
        self.directory = directory
        self.own_kernel = own_kernel
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.terminals: dict[str, int] = {}

    def serve(self, requests: IO[bytes]) -> None:
        """Execute each line until stdin is closed."""
        for line in requests:
            verb, _, rest = line.decode().strip().partition(" ")
            work, _, argument = rest.partition(" ")
            if verb == "run":
                self.start(work)
            elif verb == "signal" and work in self.processes:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.processes[work].pid, int(argument))
            elif verb == "data" and work in self.terminals:
                os.write(self.terminals[work], base64.b64decode(argument))
            elif verb == "size" and work in self.terminals:
                rows, cols = argument.split()
                _set_size(self.terminals[work], int(rows), int(cols))

    def start(self, work: str) -> None:
        """Start a request; a thread reports its end."""
        if self.own_kernel:  # otherwise this kernel would not see the host's recent changes
            _DROP_CACHES.write_text("3")
        place = self.mailbox / work
        request = msgspec.json.decode((place / "request").read_bytes(), type=Request)
        out = (place / "out").open("ab", buffering=0)
        err = (place / "err").open("ab", buffering=0)
        if not request.argv:
            out.write(msgspec.json.encode(hosts.rows(hosts.read_record(self.directory))))
            self._end(place, 0, out, err)
            return
        try:
            process, terminal = self._spawn(place, request, out, err)
        except (LabError, OSError) as error:
            text = str(error) if isinstance(error, LabError) else f"{request.argv[0]}: {error.strerror}"
            err.write(f"error: {text}\n".encode())
            self._end(place, 127 if isinstance(error, FileNotFoundError) else 1, out, err)
            return
        self.processes[work] = process
        if terminal is not None:
            self.terminals[work] = terminal
        threading.Thread(target=self._watch, args=(work, process, terminal, out, err), daemon=True).start()

    def _spawn(self, work: Path, request: Request, out: IO[bytes], err: IO[bytes]) -> tuple[subprocess.Popen[bytes], int | None]:
        node = self.record.place(request.node)
        env = environment(self.record.topology, self.directory, node, request.env)
        cwd = request.cwd if Path(request.cwd).is_dir() else "/"
        place = in_node(node.name) if node is not None else contextlib.nullcontext()
        if not request.tty:
            given = work / "in" if request.has_input else Path(os.devnull)
            with given.open("rb") as stdin, place:
                return subprocess.Popen(
                    request.argv, cwd=cwd, env=env, stdin=stdin, stdout=out, stderr=err, start_new_session=True
                ), None
        master, slave = pty.openpty()
        try:
            _set_size(master, request.rows, request.cols)
            with place:  # setsid makes the terminal the controlling one, so that Ctrl-C works in it
                process = subprocess.Popen(
                    ["setsid", "--ctty", "--wait", *request.argv], cwd=cwd, env=env, stdin=slave, stdout=slave, stderr=slave
                )
        except BaseException:
            os.close(master)
            raise
        finally:
            os.close(slave)
        return process, master

    def _watch(self, work: str, process: subprocess.Popen[bytes], terminal: int | None, out: IO[bytes], err: IO[bytes]) -> None:
        if terminal is not None:
            for data in _everything(terminal):
                out.write(data)
        status = process.wait()
        del self.processes[work]
        if terminal is not None:
            del self.terminals[work]
            os.close(terminal)
        self._end(self.mailbox / work, status if status >= 0 else 128 - status, out, err)

    def _end(self, place: Path, status: int, out: IO[bytes], err: IO[bytes]) -> None:
        out.close()
        err.close()
        with contextlib.suppress(OSError):  # the caller may have left and removed the files
            (place / "status.new").write_text(f"{status}\n")
            (place / "status.new").rename(place / "status")


def _everything(terminal: int) -> Iterator[bytes]:
    """Yield the data written to a terminal until its last writer has gone."""
    while True:
        try:
            data = os.read(terminal, 65536)
        except OSError:  # EIO: the other side is closed
            return
        if not data:
            return
        yield data


def _set_size(terminal: int, rows: int, cols: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))


def main(mailbox: Path, own_kernel: bool) -> int:
    """Build the lab from the mailbox's topology, then serve requests until stdin ends."""
    topology = from_json((mailbox / "topology.json").read_bytes())
    directory = INSIDE / topology.name
    requests = sys.stdin.buffer
    if requests.isatty():  # the guest's console: raw bytes, no echo
        tty.setraw(requests.fileno())
    try:
        with (mailbox / PROGRESS).open("a", buffering=1) as steps:
            record = hosts.build(topology, directory, (mailbox / "file").read_text(), lambda step: print(step, file=steps))
    except Exception as error:
        if directory.exists():
            shutil.rmtree(directory, ignore_errors=True)
        (mailbox / FAILED).write_text(str(error) if isinstance(error, LabError) else f"{type(error).__name__}: {error}")
        raise
    (mailbox / READY).touch()
    Runner(mailbox, record, directory, own_kernel).serve(requests)
    hosts.destroy(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), "--own-kernel" in sys.argv[2:]))
