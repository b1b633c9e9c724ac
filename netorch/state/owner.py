"""How a freshly started agent, with no memory, recognises its own objects. It never touches unmarked ones.

| object                | mark                                                                                            |
|-----------------------|-------------------------------------------------------------------------------------------------|
| network namespace     | its name, `netorch-<host>`, and `netorch-<host>+<label>` for the additional ones of edges        |
| an instance's         | its name is the instance's id, and its port's label identifies it                               |
| route, rule, neighbour| protocol number 200, which the kernel stores and shows for all three (NDA_PROTOCOL since 5.0)    |
| FDB entry             | no mark exists; the VXLAN device is ours, so every permanent entry on it is ours                |
| uplink                | altname, as any link; set before it is moved to the outside, so no moved one lacks it           |
| link                  | altname `netorch-<ifname>`, set last: a device of ours without it is incomplete and completed   |
| clsact, filter        | on a device of ours: the device is ours                                                         |
| address               | on a device of ours: the device is ours                                                         |
| nft                   | the tables named `netorch`; a fingerprint in a set's comment identifies the loaded text         |
| a daemon              | its control socket, in a directory of netorch's own in /run                                      |

The VPC of an object follows from a name or number: netorch.state.names.
"""

from __future__ import annotations

from typing import Final

import msgspec

PROTOCOL: Final = 200  # RTPROT: 5-185 are taken, see /etc/iproute2/rt_protos and linux/rtnetlink.h
ALTNAME_PREFIX: Final = "netorch-"
NFT_TABLE: Final = "netorch"
NETNS_PREFIX: Final = "netorch-"
_LABEL: Final = "+"  # no host name contains it, so names of overlays and of other namespaces never clash


def altname(ifname: str) -> str:
    """Return the mark of a link."""
    return ALTNAME_PREFIX + ifname


def overlay_netns(host: str) -> str:
    """Return the name of the namespace with a host's VRFs, VXLAN devices and ports."""
    return NETNS_PREFIX + host


def netns_name(host: str, label: str) -> str:
    """Return the name in /run/netns of a host's additional namespace, e.g. netorch-e1+outside."""
    return f"{overlay_netns(host)}{_LABEL}{label}"


def label_of(name: str, host: str) -> str:
    """Return the label of a host's additional namespace, or "" for any other name."""
    overlay, _, label = name.partition(_LABEL)
    return label if overlay == overlay_netns(host) else ""


def is_overlay(name: str) -> bool:
    """Return whether this is the name of some host's overlay namespace."""
    return name.startswith(NETNS_PREFIX) and _LABEL not in name


class PortLabel(msgspec.Struct, frozen=True):
    """The contents of a port's alias, which no instance can reach."""

    instance: str
    mac: str  # of the interface
    made: str = ""  # device and inode of the namespace, if netorch created it for the instance
    netns: str = ""  # the name of the namespace, if it existed already
    left_alone: tuple[int, ...] = ()  # IP versions for which the namespace had a default route already

    @property
    def place(self) -> str:
        """Return the name of the namespace."""
        return self.instance if self.made else self.netns

    def text(self) -> str:
        """Return the alias."""
        return " ".join((self.instance, self.mac, self.made or f"={self.netns}", *map(str, self.left_alone)))


def read_label(alias: str) -> PortLabel | None:
    """Return the label in an alias, or None if the alias is not netorch's."""
    words = alias.split(" ")
    if len(words) < 3 or not all(word in ("4", "6") for word in words[3:]):
        return None
    instance, mac, place = words[:3]
    made, netns = ("", place[1:]) if place.startswith("=") else (place, "")
    return PortLabel(instance, mac, made, netns, tuple(map(int, words[3:])))
