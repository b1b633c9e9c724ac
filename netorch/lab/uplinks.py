"""Check whether a network device of this machine can be an edge's uplink, and what else disturbs an edge. Changes nothing.

The agent moves the device into the edge's outside namespace. The machine itself can then no longer use it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from netorch.lab.features import Feature

_DEFAULT: Final = "00000000"  # destination and mask of a default route. Source: proc(5), /proc/net/route
_WHY: Final = "the uplink to the border router"


def uplink_features(device: str, root: Path = Path("/")) -> list[Feature]:
    """Return the features that an uplink device needs, one for a missing device. `root` is the root of the machine's files."""
    sysfs = root / "sys/class/net" / device
    if not sysfs.exists():
        taken = "a running edge has already taken its uplink: ip -n netorch-NAME+outside link"
        fix = f"name a device that `ip link` shows in this network namespace; {taken}"
        return [Feature(name=f"uplink {device}", present=False, why_needed=_WHY, what_to_do=fix)]
    return [
        Feature(name=f"uplink {device}", present=True, why_needed=_WHY, what_to_do=""),
        _movable(device, sysfs),
        _unused(device, root),
        Feature(
            name=f"carrier of {device}",
            present=_read(sysfs / "carrier") == "1",
            why_needed="an edge without it is not ready",
            what_to_do=f"ip link set {device} up; then check the cable and the switch port",
        ),
    ]


def _movable(device: str, sysfs: Path) -> Feature:
    """Return whether Linux moves a device to another namespace. Source: bond_main.c and br_device.c, NETIF_F_NETNS_LOCAL."""
    master = sysfs / "master"
    detail, fix = "", ""
    if master.exists():
        above = master.resolve().name
        detail, fix = f"it is a port of {above}", f"use a VLAN subinterface of {above}, or take {device} out of it"
    for kind, text in (("bonding", "a bond"), ("bridge", "a bridge")):
        if (sysfs / kind).is_dir():
            vlan = f"ip link add link {device} name {device}.100 type vlan id 100"
            detail, fix = f"it is {text}, which cannot move to another namespace", f"use a VLAN subinterface of it: {vlan}"
    why = "the edge moves the device into a namespace of its own"
    return Feature(name=f"{device} can be moved", present=not detail, why_needed=why, what_to_do=fix, detail=detail)


def _unused(device: str, root: Path) -> Feature:
    """Return whether the machine can do without a device."""
    lines = [line.split() for line in _read(root / "proc/net/route").splitlines()[1:]]
    is_default = any(words[0] == device and words[1] == words[7] == _DEFAULT for words in lines if len(words) > 7)
    return Feature(
        name=f"{device} is free",
        present=not is_default,
        why_needed="the machine itself loses the device that becomes the uplink",
        what_to_do="use another device, or give the machine another default route; otherwise it loses its network",
        detail="this machine's default route uses it" if is_default else "",
    )


def bird_warnings(root: Path = Path("/")) -> Iterator[str]:
    """Yield warnings about a bird that this machine starts itself."""
    for name in ("bird.service", "bird6.service"):
        if any((root / "etc/systemd/system").glob(f"*.wants/{name}")):
            text = f"{name} is enabled, but an edge runs its own bird and does not use that one"
            yield f"{text}; unless the underlay needs it: systemctl disable --now {name}"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:  # e.g. `carrier` of a device that is down
        return ""
