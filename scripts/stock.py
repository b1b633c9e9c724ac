"""Run a command as root in Debian's stock kernel in QEMU, through virtme-ng, and throw the machine away.

    python scripts/stock.py [--memory MB] -- COMMAND...

The lab kernel has everything that netorch needs built in, one processor and no modules. Hosts run the stock kernel: everything
is a module, loaded on demand or not at all, and two processors make the order of events vary. The machine uses this machine's
files under an overlay in memory, so it changes none of them. Nothing is installed: the kernel's package is unpacked into the
cache. Required packages: packages_stock in scripts/setup.
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
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from netorch.lab.kernel import SYSTEM_PATH, copy_new, guest_job, scratch_directory

VIRTME = "virtme-ng==1.42"
DEFAULT_MEMORY_MB = 3_000
POLL_S = 0.1
# Mount this machine's files a second time, with a cache: Python looks up thousands of files.
FILES = "-fsdev local,id=files,path=/,security_model=none,readonly=on,multidevs=remap"
FILES += " -device virtio-9p-pci,fsdev=files,mount_tag=files"
# The job starts with what a booted Debian has: systemd makes the node that loads tun, and raises the limit of open files.
JOB = """#!/bin/sh
mkdir -p /dev/net && mknod -m 666 /dev/net/tun c 10 200
ulimit -n 65536
mkdir /run/files /run/upper /run/work
mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose files /run/files
mount -t overlay none {here} -o lowerdir=/run/files{here},upperdir=/run/upper,workdir=/run/work
for library in /usr/lib/python3*; do mount --bind "/run/files$library" "$library"; done
sh {directory}/command </dev/null >{directory}/out 2>{directory}/err
echo $? >{directory}/status.new && mv {directory}/status.new {directory}/status
"""


def cache() -> Path:
    """Return the directory that caches the kernel and virtme-ng between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "netorch", "stock")


def stock_kernel() -> Path:
    """Return Debian's current kernel image, unpacked beside its modules. Raises SystemExit."""
    shown = subprocess.run(["apt-cache", "depends", "linux-image-amd64"], check=True, capture_output=True, text=True).stdout
    names = [word for word in shown.split() if word.startswith("linux-image-")]
    if len(names) < 2:
        raise SystemExit("stock kernel: apt knows no linux-image-amd64; it needs Debian on x86-64, and once: apt-get update")
    version = names[1].removeprefix("linux-image-")
    root = cache() / version
    if not (root / "lib" / "modules" / version / "modules.dep").exists():
        say(f"fetching {names[1]} and unpacking it (once; 70 MB)")
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        subprocess.run(["apt-get", "download", "-qq", names[1]], check=True, cwd=root, stderr=subprocess.DEVNULL)
        (package,) = root.glob("*.deb")
        subprocess.run(["dpkg", "-x", package, root], check=True)
        package.unlink()
        subprocess.run(["depmod", "-b", root, version], check=True, env={"PATH": SYSTEM_PATH})
    return root / "boot" / f"vmlinuz-{version}"


def virtme() -> Path:
    """Return virtme-ng's directory of commands."""
    venv = cache() / VIRTME
    if not (venv / "bin" / "vng").exists():
        say(f"installing {VIRTME} next to it (once)")
        subprocess.run([sys.executable, "-m", "venv", "--clear", venv], check=True)
        subprocess.run([venv / "bin" / "python", "-m", "pip", "install", "-q", VIRTME], check=True)
    return venv / "bin"


def fastest() -> tuple[str, ...]:
    """Return virtme-ng's options for a machine with two processors, with KVM where possible."""
    flags = Path("/proc/cpuinfo").read_text().split()
    virtual = os.access("/dev/kvm", os.R_OK | os.W_OK) and ("vmx" in flags or "svm" in flags)
    return ("--cpus", "2", *([] if virtual else ["--disable-kvm"]))


def run_in_stock_kernel(
    argv: Sequence[str],
    *,
    memory_mb: int = DEFAULT_MEMORY_MB,
    options: Sequence[str] | None = None,
    out: IO[str] | None = None,
) -> int:
    """Run `argv` in the current directory in a machine; copy its output to `out` (or stdout) and to stderr as it comes.

    Return the exit status. `options`: virtme-ng's; None: those of `fastest`. Raises SystemExit when the machine ends early.
    """
    target = sys.stdout if out is None else out
    with scratch_directory() as directory, _machine(argv, directory, memory_mb, options) as machine:
        status = directory / "status"
        with (directory / "out").open("rb") as printed, (directory / "err").open("rb") as warned:
            while not status.exists():
                if machine.poll() is not None:
                    copy_new(printed, target)
                    copy_new(warned, sys.stderr)
                    words = (directory / "console").read_text(errors="replace")[-2000:]
                    raise SystemExit(f"stock kernel: it stopped before the command ended; its last output: {words}")
                if not copy_new(printed, target) | copy_new(warned, sys.stderr):
                    time.sleep(POLL_S)
            copy_new(printed, target)
            copy_new(warned, sys.stderr)
        return int(status.read_text())


@contextlib.contextmanager
def _machine(
    argv: Sequence[str], directory: Path, memory_mb: int, options: Sequence[str] | None
) -> Iterator[subprocess.Popen[bytes]]:
    """Yield a machine that runs `argv`; end it afterwards."""
    commands, image = virtme(), stock_kernel()
    (directory / "command").write_text(guest_job(argv, Path.cwd().resolve(), os.environ))
    job = directory / "job"
    job.write_text(JOB.format(directory=directory, here=shlex.quote(str(Path.cwd().resolve()))))
    job.chmod(0o755)
    for name in ("out", "err"):
        (directory / name).touch()
    command = [
        *(str(commands / "vng"), "-v", "--run", str(image), "--force-9p", "--memory", f"{memory_mb}M"),
        *(f"--rwdir={directory}", f"--overlay-rwdir={Path.home()}", f"--qemu-opts={FILES}"),
        *(*(fastest() if options is None else options), "--", str(job)),
    ]
    # virtme-ng needs a terminal, which script(1) provides; SIGTERM to script ends all of them.
    with subprocess.Popen(
        ["nice", "script", "-qefc", shlex.join(command), str(directory / "console")],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PATH": f"{commands}:{os.environ['PATH']}:{SYSTEM_PATH}"},
    ) as machine:
        try:
            yield machine
        finally:
            machine.terminate()


def say(what: str) -> None:
    """Print what is being done."""
    print(f"stock kernel: {what}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str]) -> int:
    """Parse the command line in the module's docstring and run it."""
    parser = argparse.ArgumentParser(prog="python scripts/stock.py", description="Run a command in Debian's stock kernel.")
    parser.add_argument("--memory", type=int, default=DEFAULT_MEMORY_MB, metavar="MB", help="the machine's memory (%(default)s)")
    parser.add_argument("command", nargs="+", help="the command")
    known = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))  # so that the machine is shut down
    how = "slow, without KVM" if "--disable-kvm" in fastest() else "with KVM"
    say(f"booting it in QEMU ({how})")
    try:
        return run_in_stock_kernel(known.command, memory_mb=known.memory)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
