"""The Debian package, installed in a throw-away root without this tree and without a network."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.long, pytest.mark.skipif(os.geteuid() != 0, reason="a root of its own is made by root only")]

# An overlay in memory over this machine's files, with this tree and running services hidden.
IN_A_ROOT = """
set -e
mount -t tmpfs none "$1"
mkdir "$1"/upper "$1"/work "$1"/root
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
mount -t proc proc "$1/root/proc"
mount -t tmpfs none "$1/root/run"
mount -t tmpfs none "$1/root$3"
cp "$2" "$1/root/netorch.deb"
exec chroot "$1/root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive sh -ec "$4"
"""

LIFE = """
dpkg --install /netorch.deb >&2
cd /
netorch host create hv1 --underlay 192.0.2.11 >&2
stat --format '%a %G' /var/lib/netorch/netorch.db /var/lib/netorch /etc/netorch/netorch.toml
netorch history -o json
/usr/lib/netorch/bin/python3 -I -c '
import sys, aiohttp, msgspec, nacl.public, nftables, pyroute2, vici, yaml_rs
from netorch.compiler.registry import check_coverage, load_compilers
from netorch.records.kinds import compiled
check_coverage(load_compilers(), compiled())
modules = map(sys.modules.get, ("aiohttp", "netorch", "edges", "policy"))
print(*{module.__file__.split("/site-packages/")[0] for module in modules})
'
zcat /usr/share/man/man1/netorch-agent.1.gz | grep -c 'At boot'
bash -c '. /usr/share/bash-completion/completions/netorch; complete -p netorch'
systemd-analyze verify --man=no /usr/lib/systemd/system/netorch-agent.service /usr/lib/systemd/system/netorch-restore.service
systemctl is-enabled netorch-agent.service || true
echo 'host = "hv1"' >>/etc/netorch/netorch.toml
dpkg --install /netorch.deb >&2
netorch config show -o json
dpkg --purge netorch
ls -d /usr/lib/netorch /etc/netorch /usr/bin/netorch 2>/dev/null || true
ls /var/lib/netorch/netorch.db
"""


def test_the_package_lives_from_installation_to_purge(tmp_path: Path) -> None:
    built = subprocess.run([ROOT / "scripts/package"], check=True, capture_output=True, text=True)
    package = ROOT / built.stderr.split()[-1]
    listed = subprocess.run(["dpkg-deb", "--contents", package], check=True, capture_output=True, text=True).stdout
    assert "/usr/share/doc/netorch/docs/design/identities.md" in listed, "texts name it"
    (tmp_path / "root").mkdir()
    command = ["unshare", "--mount", "--net", "--pid", "--fork", "sh", "-ec", IN_A_ROOT, "sh"]
    done = subprocess.run(
        [*command, str(tmp_path / "root"), str(package), str(ROOT), LIFE], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    text = done.stdout
    assert text.splitlines()[:3] == ["640 netorch", "750 netorch", "644 root"]
    decoder = json.JSONDecoder()
    (change,), end = decoder.raw_decode(text[text.index("[") :])
    assert change["command"] == "netorch host create hv1 --underlay 192.0.2.11"
    rest = text[text.index("[") + end :].splitlines()[1:]
    assert rest[0] == "/usr/lib/netorch/lib/python3.11"
    assert int(rest[1]) > 0, "the man page"
    assert rest[2].startswith("complete")
    assert rest[3] == "disabled", "nothing is enabled by installing it"
    settings, end = decoder.raw_decode("\n".join(rest[4:]))
    assert {"setting": "host", "value": "hv1", "from": "/etc/netorch/netorch.toml:21"}.items() <= settings[1].items()
    assert "netorch: the store, snapshots and keys remain in /var/lib/netorch" in done.stdout
    assert done.stdout.splitlines()[-1] == "/var/lib/netorch/netorch.db", "nothing but what is the operator's is left"
