"""Debian's stock kernel in QEMU, with a clock that counts instructions.

With `-icount shift=0` the guest's clock advances by one nanosecond an instruction, whatever else the machine does: what takes
the guest a microsecond is 1,000 instructions. Cache misses are not seen, and a string instruction counts once a byte.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

PACKAGES = {"qemu-system-x86_64": "qemu-system-x86", "busybox": "busybox-static", "depmod": "kmod"}
VIRTME = "virtme-ng==1.42"
MODULES = ("veth", "bridge", "vxlan", "vrf", "dummy", "tun", "nf_tables", "nfnetlink", "nft_ct", "nf_conntrack_netlink", "pktgen")
ICOUNT = "-icount shift=0,sleep=off,align=off"
MEMORY = "3G"


def cache() -> Path:
    """Return the directory that keeps the kernel and virtme-ng from one run to the next."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "netorch", "bench")


def stock_kernel() -> Path:
    """Return Debian's current kernel image, unpacked beside its modules; nothing is installed. Raises SystemExit."""
    missing = [
        package for tool, package in PACKAGES.items() if not shutil.which(tool, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    ]
    if missing:
        raise SystemExit(f"datapath: tools are missing; run: apt-get install {' '.join(missing)}")
    shown = subprocess.run(["apt-cache", "depends", "linux-image-amd64"], check=True, capture_output=True, text=True).stdout
    names = [word for word in shown.split() if word.startswith("linux-image-")]
    if len(names) < 2:
        raise SystemExit("datapath: apt knows no linux-image-amd64; this benchmark needs Debian on x86-64 and apt-get update")
    version = names[1].removeprefix("linux-image-")
    root = cache() / version
    image = root / "boot" / f"vmlinuz-{version}"
    if not (root / "lib" / "modules" / version / "modules.dep").exists():
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        subprocess.run(["apt-get", "download", "-qq", names[1]], check=True, cwd=root, stderr=subprocess.DEVNULL)
        (package,) = root.glob("*.deb")
        subprocess.run(["dpkg", "-x", package, root], check=True)
        package.unlink()
        subprocess.run(["depmod", "-b", root, version], check=True, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
    return image


def virtme() -> Path:
    """Return virtme-ng's directory of commands."""
    venv = cache() / VIRTME
    if not (venv / "bin" / "vng").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", venv], check=True)
        subprocess.run([venv / "bin" / "python", "-m", "pip", "install", "-q", VIRTME], check=True)
    return venv / "bin"


def run_in_machine(argv: Sequence[str], out: Path) -> None:
    """Run a command in the machine, in our working directory, with what it prints going to `out`; its directory is read-write.

    Raises RuntimeError when the command failed, with the end of what it and the machine printed.
    """
    bin_dir, image = virtme(), stock_kernel()
    job, log, console = (out.parent / name for name in ("job", "err", "console"))
    job.write_text(
        f"#!/bin/sh\nexec >{out} 2>{log}\nfor m in {' '.join(MODULES)}; do modprobe $m; done\nulimit -n 65536\n"
        f"cd {shlex.quote(str(Path.cwd()))} && {shlex.join(argv)} && echo done >>{log}\n"
    )
    job.chmod(0o755)
    command = [
        *("vng", "-v", "--run", str(image), "--disable-kvm", "--cpus", "1", "--memory", MEMORY),
        *(f"--rwdir={out.parent}", f"--qemu-opts={ICOUNT}", "--", str(job)),
    ]
    # virtme-ng wants a terminal, which script(1) pretends.
    subprocess.run(
        ["nice", "script", "-qec", shlex.join(command), str(console)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PATH": f"{bin_dir}:{os.environ['PATH']}:/usr/sbin:/sbin"},
        check=False,
    )
    said = log.read_text() if log.exists() else console.read_text(errors="replace")[-2000:]
    if not said.endswith("done\n"):
        raise RuntimeError(f"datapath: the machine failed; it said: {said[-3000:]}")
