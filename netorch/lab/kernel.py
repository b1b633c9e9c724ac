"""The lab kernel: a Linux kernel as an ordinary process (User-Mode-Linux), thrown away after use.

Many machines run a kernel without VRF or nf_tables, and few let an ordinary user load modules. The lab kernel has both, needs
no root, boots in about a second and sees the host's files. Its root file system is the host's with an overlay in memory: its
changes are lost, except in the directories that are shared read-write.

  python -m netorch.lab.kernel [--memory MB] [--share DIR] -- COMMAND...

Two things do not work across the kernel's border, even in a shared directory: unix sockets and the memory maps of SQLite's WAL.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import IO

from netorch.errors import LabError

DEFAULT_MEMORY_MB = 1024
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
POLL_S = 0.01
KILL_PATIENCE_S = 10.0
# Variables of the host that would be wrong in the guest: these directories are empty there.
HOST_ONLY_ENVIRONMENT = frozenset({"TMPDIR", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"})


def find_kernel(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the lab kernel's binary.

    Raises LabError when there is none.
    """
    explicit = environ.get("NETORCH_LAB_KERNEL")
    cache = environ.get("XDG_CACHE_HOME") or os.path.join(environ.get("HOME", "/"), ".cache")
    path = Path(explicit) if explicit else Path(cache, "netorch", "kernel", "linux")
    if not os.access(path, os.X_OK):
        source = "NETORCH_LAB_KERNEL" if explicit else "lab kernel"
        raise LabError(f"{source}: {path} is not an executable file; build it once with scripts/kernel (about 4 minutes)")
    return path


def memory_directory(memory_mb: int, candidates: Sequence[str] = ()) -> Path:
    """Return a directory that can hold the guest's memory as a file, memory file systems first.

    Raises LabError when none has enough room: the guest would die of SIGBUS in the middle of its work.
    """
    refused = []
    for name in candidates or ("/dev/shm", tempfile.gettempdir(), "/var/tmp"):
        try:
            room = os.statvfs(name)
        except OSError as error:
            refused.append(f"{name} ({error.strerror})")
            continue
        free_mb = room.f_bavail * room.f_frsize >> 20
        if room.f_flag & os.ST_NOEXEC:
            refused.append(f"{name} (mounted noexec)")
        elif not os.access(name, os.W_OK | os.X_OK):
            refused.append(f"{name} (not writable)")
        elif free_mb < memory_mb:
            refused.append(f"{name} ({free_mb} MB free)")
        else:
            return Path(name)
    raise LabError(
        f"lab kernel: no place for {memory_mb} MB of guest memory, tried {', '.join(refused)}; "
        "set TMPDIR to a directory with more room, or ask for less memory"
    )


def hidden(directories: Sequence[Path]) -> list[Path]:
    """Return the directories that the lab kernel does not see unless they are shared, without duplicates."""
    return sorted({path for path in directories if path.parts[1:2] and path.parts[1] in ("tmp", "run", "dev")})


def guest_job(argv: Sequence[str], cwd: Path, env: Mapping[str, str]) -> str:
    """Return the shell text that runs `argv` in the guest."""
    variables = {name: value for name, value in env.items() if name not in HOST_ONLY_ENVIRONMENT and name.isidentifier()}
    variables["PATH"] = f"{variables['PATH']}:{SYSTEM_PATH}" if variables.get("PATH") else SYSTEM_PATH
    lines = [f"export {name}={shlex.quote(value)}" for name, value in sorted(variables.items())]
    return "\n".join([*lines, f"cd {shlex.quote(str(cwd))} || exit 1", f"exec {shlex.join(argv)}", ""])


class GuestSilent(LabError):
    """The guest has stopped printing: its command hangs, or its kernel does."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h: the same command may succeed in another guest


class Guest:
    """One booted lab kernel, running one command. `directory` is shared with it and holds its output."""

    def __init__(self, directory: Path, process: subprocess.Popen[bytes]) -> None:
        self.directory = directory
        self.process = process

    def status(self) -> int | None:
        """Return the command's exit status; None while it runs.

        Raises LabError when the kernel ended before the command did.
        """
        file = self.directory / "status"
        ended = self.process.poll() is not None
        if file.exists():
            return int(file.read_text())
        if ended:
            raise LabError(f"lab kernel: it stopped before the command ended; its last output: {self.last_words()}")
        return None

    def last_words(self) -> str:
        """Return the end of the kernel's own log, on one line."""
        text = (self.directory / "kernel.log").read_text(errors="replace")
        return " | ".join(text.split("\n")[-8:]).strip(" |") or "none"

    def kill(self) -> None:
        """End the kernel and all its processes.

        A process that SIGKILL does not end at once is left to the machine's kernel: a wait for it could last forever.
        """
        end_kernel(self.process.pid)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(KILL_PATIENCE_S)

    def processes(self) -> str:
        """Return state, wait channel and CPU time of each host process of the guest, to diagnose a hanging guest."""
        command = ["ps", "--no-headers", "-o", "pid,stat,wchan:24,cputime", "-g", str(self.process.pid)]
        lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
        return " | ".join(" ".join(line.split()) for line in lines)


def end_kernel(pid: int, patience_s: float = 2.0) -> None:
    """End the lab kernel that `pid` leads, and the host processes that run its user space.

    On SIGTERM the kernel ends its processes; the rest of the process group is killed.
    """
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline and _alive(pid):
        time.sleep(POLL_S)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _alive(pid: int) -> bool:
    """Return whether `pid` runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def boot(
    argv: Sequence[str],
    *,
    directory: Path,
    cwd: Path | None = None,
    env: Mapping[str, str] = os.environ,
    memory_mb: int = DEFAULT_MEMORY_MB,
    share: Sequence[Path] = (),
    outlive: bool = False,
    console: IO[bytes] | None = None,
) -> Guest:
    """Start a lab kernel that runs `argv`, and return at once.

    `directory` is empty and must stay until the guest has ended. `share` directories are read and written through. The guest
    dies with the calling thread unless `outlive`. `console` is the guest's input at /dev/tty1.
    """
    kernel = find_kernel()
    memory = memory_directory(memory_mb)
    here = Path.cwd() if cwd is None else cwd
    # The working directory and the Python installation must be visible, too.
    needed = [path.resolve() for path in (here, Path(sys.prefix), Path(__file__).parents[2])]
    shares = [path.resolve() for path in (directory, *share, *hidden(needed))]
    (directory / "init").write_bytes(resources.files(__package__).joinpath("guest-init.sh").read_bytes())
    (directory / "init").chmod(0o755)
    (directory / "job").write_text(guest_job(argv, here.resolve(), env))
    (directory / "shares").write_text("".join(f"{path}\n" for path in shares))
    for name in ("out", "err"):
        (directory / name).touch()
    tty = f"con1=fd:{console.fileno()},null" if console else ""
    command = [
        *([] if outlive else ["setpriv", "--pdeathsig", "TERM", "--"]),
        *(str(kernel), f"mem={memory_mb}M", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", "quiet"),
        *(f"init={directory}/init", f"NETORCH_JOB={directory}", f"uml_dir={directory}/", "umid=guest"),
        "random.trust_cpu=on",  # the host seeds the guest's random numbers; without this the first getrandom(2) takes 20 s
        *("con0=null,fd:1", *([tty] if tty else []), "con=null", "ssl=null"),
    ]
    with (directory / "kernel.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={"PATH": SYSTEM_PATH, "HOME": str(directory), "TMPDIR": str(memory)},
            pass_fds=[console.fileno()] if console else [],
            start_new_session=True,
        )
    return Guest(directory, process)


@contextlib.contextmanager
def scratch_directory() -> Iterator[Path]:
    """Yield a directory for one guest, removed afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="netorch-lab-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def run_in_kernel(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] = os.environ,
    memory_mb: int = DEFAULT_MEMORY_MB,
    share: Sequence[Path] = (),
    timeout_s: float | None = None,
    silence_s: float | None = None,
) -> int:
    """Run `argv` in a fresh lab kernel, copy its output to stdout and stderr, and return its exit status.

    Raises:
      GuestSilent: it printed nothing for `silence_s`; it was ended.
      LabError: there is no kernel, it does not start, or `timeout_s` passes.
    """
    started = heard = time.monotonic()
    with scratch_directory() as directory:
        guest = boot(argv, directory=directory, cwd=cwd, env=env, memory_mb=memory_mb, share=share)
        try:
            with (directory / "out").open("rb") as out, (directory / "err").open("rb") as err:
                while (status := guest.status()) is None:
                    now = time.monotonic()
                    if copy_new(out, sys.stdout) | copy_new(err, sys.stderr):
                        heard = now
                    else:
                        time.sleep(POLL_S)
                    if timeout_s is not None and now > started + timeout_s:
                        raise LabError(f"lab kernel: {shlex.join(argv)} was still running after {timeout_s} s and was stopped")
                    if silence_s is not None and now > heard + silence_s:
                        raise GuestSilent(
                            f"lab kernel: {shlex.join(argv)} printed nothing for {silence_s} s and was stopped; "
                            f"its processes: {guest.processes()}; its last output: {guest.last_words()}"
                        )
                copy_new(out, sys.stdout)
                copy_new(err, sys.stderr)
        finally:
            guest.kill()
    return status


def copy_new(source: IO[bytes], target: IO[str]) -> bool:
    """Copy the bytes appended to `source` since the last call; return whether there were any."""
    data = source.read()
    if data:
        target.flush()
        target.buffer.write(data)  # type: ignore[attr-defined]  # only a replaced sys.stdout lacks it
        target.flush()
    return bool(data)


def main(args: Sequence[str]) -> int:
    """Run the command line shown in the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m netorch.lab.kernel", description="Run a command in the lab kernel.")
    parser.add_argument("--memory", type=int, default=DEFAULT_MEMORY_MB, metavar="MB", help="the guest's memory (%(default)s)")
    parser.add_argument("--share", type=Path, action="append", default=[], metavar="DIR", help="also read-write in the guest")
    parser.add_argument("--timeout", type=float, metavar="S", help="stop after this many seconds")
    parser.add_argument(
        "--silence", type=float, metavar="S", help="stop when nothing was printed for this many seconds (status 75)"
    )
    parser.add_argument("command", nargs="+", help="the command")
    known = parser.parse_args(args)
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))  # so that the guest is shut down
    try:
        return run_in_kernel(
            known.command,
            memory_mb=known.memory,
            share=[Path.cwd(), *known.share],
            timeout_s=known.timeout,
            silence_s=known.silence,
        )
    except LabError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
