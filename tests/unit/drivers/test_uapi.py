"""The kernel's constants in our code equal those of pyroute2."""

from __future__ import annotations

from typing import Any

import pyroute2.netlink.rtnl as rtnl
import pytest
from pyroute2.netlink.rtnl.fibmsg import fibmsg
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.ndtmsg import ndtmsg
from pyroute2.netlink.rtnl.nsidmsg import nsidmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from netorch.drivers.rtnl import uapi

UNKNOWN = {"IFLA_TARGET_NETNSID", "RTA_NH_ID"}  # pyroute2 lacks them, or names them differently


def constants(group: type) -> dict[str, int]:
    return {name: value for name, value in vars(group).items() if isinstance(value, int) and not name.startswith("_")}


@pytest.mark.parametrize(
    ("group", "prefix", "message"),
    [
        (uapi.IFLA, "IFLA_", ifinfmsg),
        (uapi.IFA, "IFA_", ifaddrmsg),
        (uapi.RTA, "RTA_", rtmsg),
        (uapi.NDA, "NDA_", ndmsg),
        (uapi.NDTA, "NDTA_", ndtmsg),
        (uapi.FRA, "FRA_", fibmsg),
        (uapi.NETNSA, "NETNSA_", nsidmsg),
    ],
)
def test_attributes(group: type, prefix: str, message: Any) -> None:  # noqa: ANN401
    known = {entry[-2]: entry[0] if len(entry) == 3 else number for number, entry in enumerate(message.nla_map)}
    found = {prefix + name: value for name, value in constants(group).items()}
    found = {name: value for name, value in found.items() if name not in UNKNOWN}
    assert {name: known.get(name) for name in found} == found


@pytest.mark.parametrize(("group", "prefix"), [(uapi.RTM, "RTM_"), (uapi.RTNLGRP, "RTNLGRP_")])
def test_messages_and_groups(group: type, prefix: str) -> None:
    found = {prefix + name: value for name, value in constants(group).items() if hasattr(rtnl, prefix + name)}
    assert len(found) > 8
    assert {name: getattr(rtnl, name) for name in found} == found
