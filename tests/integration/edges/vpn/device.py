"""Devices that speak IKE and BGP, each in its own namespace: real charon and real bird, with typical configuration files."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any, Final

from netorch.drivers.charon.control import Control
from netorch.drivers.charon.sas import ike_sas
from netorch.model.status import INSTALLED
from tests.rig.world import wait_for

CHARON: Final = "/usr/sbin/charon-systemd"
FRR: Final = Path("/usr/lib/frr")
_PLUGINS: Final = (
    "random nonce openssl sha1 sha2 hmac kdf pem pkcs1 pkcs8 x509 pubkey constraints kernel-netlink socket-default vici"
)


class Device:
    """A namespace, its processes, and a directory for their files."""

    def __init__(self, netns: str, directory: Path) -> None:
        self.netns = netns
        self.directory = directory
        self._vici = directory / "vici"
        self._birdc = directory / "bird.ctl"
        self._charon: subprocess.Popen[bytes] | None = None
        self._bird: subprocess.Popen[bytes] | None = None
        self._frr: list[subprocess.Popen[bytes]] = []
        self._frr_home = Path("/run") / f"frr-{netns}"
        directory.mkdir(parents=True)
        subprocess.run(["ip", "netns", "add", netns], check=True)
        self.shell("ip link set lo up")

    def shell(self, script: str) -> str:
        """Run a shell script in the namespace; return its output. Fails with its error output."""
        done = subprocess.run(
            ["ip", "netns", "exec", self.netns, "sh", "-ec", script], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{self.netns}: {script}\n{done.stdout}{done.stderr}"
        return done.stdout

    def reaches(self, source: str, destination: str) -> bool:
        """Return whether an echo is answered."""
        command = ["ip", "netns", "exec", self.netns, "ping", "-c", "1", "-W", "1", "-I", source, destination]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def start_charon(self, settings: str = "") -> None:
        """Start charon with a file of `charon` settings, and nothing loaded."""
        conf = self.directory / "strongswan.conf"
        log = self.directory / "charon.log"
        own = f"load = {_PLUGINS}\nplugins {{ vici {{ socket = unix://{self._vici} }} }}\nfilelog {{ log {{ path = {log} }} }}"
        conf.write_text(f"{settings}\ncharon-systemd {{\n{own}\n}}\n")
        self._charon = self._start([CHARON], STRONGSWAN_CONF=str(conf))
        wait_for(self._vici.exists, f"charon of {self.netns}")

    def stop_charon(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Stop charon, which tells its peers unless it is killed."""
        _end(self._charon, number)
        self._charon = None
        self._vici.unlink(missing_ok=True)

    def begin_again(self) -> None:
        """Let charon initiate its tunnels again, as if the device had just been switched on."""
        self.stop_charon(signal.SIGKILL)
        self.shell("ip xfrm state flush; ip xfrm policy flush")
        self._charon = self._start([CHARON], STRONGSWAN_CONF=str(self.directory / "strongswan.conf"))
        wait_for(self._vici.exists, f"charon of {self.netns}")
        self._swanctl("--load-all", "--clear", "--file", str(self.directory / "swanctl.conf"))

    def keep(self, name: str, text: str) -> None:
        """Write a file below what is /etc/swanctl on a device, readable by its owner only."""
        path = self.directory / name
        path.parent.mkdir(exist_ok=True)
        path.touch(0o600)
        path.write_text(text)

    def load(self, swanctl_conf: str) -> str:
        """Load a file as `swanctl --load-all` does; return the output."""
        path = self.directory / "swanctl.conf"
        path.write_text(swanctl_conf)
        path.chmod(0o600)
        return self._swanctl("--load-all", "--clear", "--file", str(path))

    def installed(self) -> int:
        """Return the number of installed CHILD_SAs, without starting a process, since this is asked often."""
        with Control(self._vici, 10.0) as control:
            sas = ike_sas(control.stream("list-sas", "list-sa"))
            return sum(child.state == INSTALLED for sa in sas for child in sa.children)

    def log(self) -> str:
        """Return charon's log."""
        return (self.directory / "charon.log").read_text(errors="replace")

    def start_bird(self, conf: str) -> None:
        """Start bird with a file."""
        path = self.directory / "bird.conf"
        path.write_text(conf)
        subprocess.run(["bird", "-p", "-c", str(path)], check=True)
        self._bird = self._start(["bird", "-f", "-c", str(path), "-s", str(self._birdc), "-P", str(self.directory / "bird.pid")])
        wait_for(self._birdc.exists, f"bird of {self.netns}")

    def stop_bird(self) -> None:
        """Stop bird, which tells its neighbours."""
        _end(self._bird, signal.SIGTERM)
        self._bird = None
        self._birdc.unlink(missing_ok=True)

    def bird(self, command: str) -> str:
        """Return bird's answer to a command."""
        done = subprocess.run(["birdc", "-s", str(self._birdc), command], capture_output=True, text=True, check=False)
        return done.stdout

    def start_frr(self, conf: str) -> None:
        """Start zebra, bfdd and bgpd of FRR, each with the same file, as FRR does with /etc/frr/frr.conf."""
        self._frr_home.mkdir()
        shutil.chown(self._frr_home, "frr", "frr")  # the daemons give up root
        path = self._frr_home / "frr.conf"
        path.write_text(conf)
        for name in ("zebra", "bfdd", "bgpd"):
            own = ["-f", str(path), "-i", str(self._frr_home / f"{name}.pid"), "-z", str(self._frr_home / "zserv")]
            own += ["--vty_socket", str(self._frr_home), "-P", "0"]
            own += ["--bfdctl", str(self._frr_home / "bfdd.sock")] if name == "bfdd" else []
            self._frr.append(self._start([str(FRR / name), *own]))
            wait_for((self._frr_home / f"{name}.vty").exists, f"{name} of {self.netns}")

    def bfd_states(self) -> list[str]:
        """Return the states of FRR's BFD sessions, "up" or what else vtysh calls them."""
        words = ["vtysh", "--vty_socket", str(self._frr_home), "-c", "show bfd peers json"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        return [peer["status"] for peer in json.loads(done.stdout or "[]")]

    def routes(self, prefix: str) -> list[dict[str, Any]]:
        """Return Linux's routes of a prefix, one for each next hop."""
        found: list[dict[str, Any]] = json.loads(self.shell(f"ip -json route show {prefix}") or "[]")
        return [{**route, **hop} for route in found for hop in route.get("nexthops", [{}])]

    def close(self) -> None:
        """Stop the processes, and remove the namespace."""
        for process in (self._charon, self._bird, *self._frr):
            _end(process, signal.SIGKILL)
        shutil.rmtree(self._frr_home, ignore_errors=True)
        subprocess.run(["ip", "netns", "del", self.netns], check=False)

    def _swanctl(self, *words: str) -> str:
        empty = self.directory / "swanctl-strongswan.conf"
        empty.touch()
        environment = os.environ | {"SWANCTL_DIR": str(self.directory), "STRONGSWAN_CONF": str(empty)}
        command = ["swanctl", *words, "--uri", f"unix://{self._vici}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def _start(self, command: list[str], **environment: str) -> subprocess.Popen[bytes]:
        words = ["ip", "netns", "exec", self.netns, *command]
        nothing = subprocess.DEVNULL
        return subprocess.Popen(words, stdin=nothing, stdout=nothing, stderr=nothing, env=os.environ | environment)


def _end(process: subprocess.Popen[bytes] | None, number: signal.Signals) -> None:
    if process is not None:
        process.send_signal(number)
        process.wait()
