"""`netorch vpn doctor` distinguishes mistakes of a real device, and explains each in its own words.

In each test one thing is wrong, at the device or in the VPC; the findings must be that, and nothing that follows from it.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator

import msgspec
import pytest

from netorch.model.outside import tunnel_problems as problems
from netorch.model.security import SecurityGroup
from netorch.records import keys
from tests.integration.edges.vpn.office import OPTIONS, PATIENCE_S, Change, Office
from tests.rig.hosts import end_bird, end_charon
from tests.rig.outskirts import EDGES, Outskirts
from tests.rig.world import wait_for

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    outskirts = Outskirts(tmp_path_factory.mktemp("outskirts"))
    found = None
    try:
        found = Office(outskirts, tmp_path_factory.mktemp("office"))
        yield found
    finally:
        if found is not None:
            found.site.close()
        outskirts.close()
        for edge in EDGES:
            end_bird(edge)
            end_charon(edge)


def lines(name: str, value: str) -> Change:
    """Return a change that sets an option wherever it is printed."""
    return lambda text: re.sub(rf"(?m)^( *{name} =).*$", rf"\1 {value}", text)


SAID: dict[str, str] = {}  # test -> the sentence found


def said(office: Office, word: str) -> str:
    """Return the sentence about the first tunnel once `word` is the only finding for both tunnels."""
    found = office.wait_for(word)
    sentence = found[0].text
    SAID[word] = sentence
    return sentence


def test_nobody_has_begun(office: Office) -> None:
    assert "the device has sent nothing so far" in said(office, problems.WAITING)


def test_all_is_well(office: Office) -> None:
    office.start()
    assert office.wait_for() == []


@pytest.mark.parametrize(
    ("word", "change", "part"),
    [
        (problems.WRONG_PSK, lines("secret", '"another.key"'), "different pre-shared keys"),
        (problems.NO_PROPOSAL, lines("proposals", "aes192-sha256-modp2048"), "for phase 1, and this edge accepts"),
        (problems.CHILD_NO_PROPOSAL, lines("esp_proposals", "aes192-sha256-modp2048"), "for phase 2, and this edge accepts"),
        (problems.WRONG_IDENTITY, lambda text: text.replace('id = "198.18.81.2"', 'id = "other.example"'), "other.example"),
    ],
)
def test_the_device_negotiates_otherwise(office: Office, word: str, change: Change, part: str) -> None:
    office.start(change)
    assert part in said(office, word)


def test_the_device_expects_another_edge(office: Office) -> None:
    office.start(lambda text: re.sub(r"id = 198\.19\.[01]\.1\n", "id = edge.example\n", text))
    assert "edge.example" in said(office, problems.WRONG_EDGE_IDENTITY)


def test_the_device_speaks_ikev1_only(office: Office) -> None:
    before = office.connection
    options = msgspec.structs.replace(OPTIONS, ike_versions=("ikev2",))
    tunnels = tuple(msgspec.structs.replace(tunnel, options=options) for tunnel in before.tunnels)
    office.change(msgspec.structs.replace(before, tunnels=tunnels))
    office.start(lines("version", "1"))
    assert "ikev1" in said(office, problems.IKE_VERSION).lower()
    office.change(before)


def test_the_device_asks_for_other_networks(office: Office) -> None:
    before = office.connection
    office.change(msgspec.structs.replace(before, local_cidr="10.44.0.0/16", remote_cidr="10.0.0.0/16"))
    office.start(lines("remote_ts", "172.16.0.0/12"))
    assert "172.16.0.0/12" in said(office, problems.TS_UNACCEPTABLE)
    office.change(before)


def test_the_device_has_no_routing_daemon(office: Office) -> None:
    office.start(bgp=None)
    assert "start the routing daemon on the device" in said(office, "bgp_refused")


def test_the_device_has_another_as_number(office: Office) -> None:
    office.start(bgp=lambda text: text.replace("as 65000", "as 65001"))
    assert "AS 65000, with 169.254." in said(office, "bgp_wrong_as")


def test_the_device_announces_nothing(office: Office) -> None:
    office.start(bgp=lambda text: text.replace("10.44.0.0/16+", "172.16.0.0/12+"))
    assert "let it announce its networks" in said(office, "nothing_announced")


def test_the_device_has_died(office: Office) -> None:
    office.start()
    office.wait_for()
    office.stop(signal.SIGKILL)
    assert "stopped answering" in said(office, problems.DPD_TIMEOUT)


def test_a_device_that_begins_again_is_well_again(office: Office) -> None:
    office.start()
    office.wait_for()
    device = office.site.device
    device.begin_again()  # the device's bird goes on, and may have lost its sessions
    wait_for(lambda: device.installed() >= 2, "both tunnels", PATIENCE_S)
    wait_for(lambda: device.bird("show protocols").count("Established") == 2, "both sessions", PATIENCE_S)
    office.wait_for()


def test_no_route_table_learns(office: Office) -> None:
    office.start()
    office.wait_for()
    office.propagate()
    assert "no route table in use has a route to 10.44.0.0/16" in said(office, "not_propagated")
    office.propagate(office.gateway)
    office.wait_for()


def test_no_security_group_lets_it_in(office: Office) -> None:
    (group,) = [group for group in office.world.vpc("a").each(SecurityGroup) if group.name == "open"]
    office.private.put(keys.resource(group.id), msgspec.structs.replace(group, ingress=()))
    assert "no security group permits traffic from 10.44.0.0/16" in said(office, "closed")
    office.private.put(keys.resource(group.id), group)
    office.wait_for()


def test_each_mistake_has_a_sentence_of_its_own() -> None:
    assert len(SAID) >= 12
    assert len(set(SAID.values())) == len(SAID)
