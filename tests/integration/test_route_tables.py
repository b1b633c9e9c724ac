"""Two route tables in one VPC: one drops what the other delivers; a subnet changes its table under traffic."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Callable
from itertools import pairwise

import msgspec
import pytest

from netorch.control.actions.moves import move_instance
from netorch.control.actions.route_tables import set_main_route_table
from netorch.drivers.probe.echo import Probe, ask
from netorch.model.ids import make_id
from netorch.model.vpc import RouteTable, Subnet, VpcRoute
from netorch.records import keys
from netorch.records.codec import encode
from netorch.store.base import Put
from tests.rig.agents import AgentProcess
from tests.rig.datagrams import heard, talking, udp_socket, wait_until_sent
from tests.rig.tables import use_table
from tests.rig.world import World, wait_for

pytestmark = pytest.mark.root

VNI = 20000
MAPPINGS_ELSEWHERE = 300  # of addresses on a host without an agent: each has a route in every table
MOVES = 6
LOST, LOST_AT_WORST = 10, 60  # at most: datagrams per change; echoes, one each 5 ms, per move
NOBODY = make_id("eni", VNI, 0xDEAD)  # an interface that does not exist: a route to it is a black hole
DB4, DB6 = "10.44.2.0/24", "fd00:44:0:102::/64"

CLOUD = f"""
vpcs:
- name: acme
  vni: {VNI}
  cidrs: [10.44.0.0/16]
  ipv6_cidrs: ['fd00:44:0:100::/56']
  route_tables: [{{name: closed}}]
  subnets:
  - {{name: app, cidr: 10.44.1.0/24, ipv6_cidr: 'fd00:44:0:101::/64'}}
  - {{name: db, cidr: {DB4}, ipv6_cidr: '{DB6}'}}
  - {{name: web, cidr: 10.44.3.0/24, ipv6_cidr: 'fd00:44:0:103::/64', route_table: closed}}
  - {{name: many, cidr: 10.44.4.0/22}}
  instances:
  - {{name: app1, subnet: app, host: hv1, address: 10.44.1.4, ipv6_address: 'fd00:44:0:101::4'}}
  - {{name: web1, subnet: web, host: hv1, address: 10.44.3.4, ipv6_address: 'fd00:44:0:103::4'}}
  - {{name: db1, subnet: db, host: hv1, address: 10.44.2.4, ipv6_address: 'fd00:44:0:102::4'}}
  - {{name: db2, subnet: db, host: hv2, address: 10.44.2.5, ipv6_address: 'fd00:44:0:102::5'}}
  - {{name: web2, subnet: web, host: hv2, address: 10.44.3.5, ipv6_address: 'fd00:44:0:103::5'}}
"""
OUTSIDE = {4: "198.51.100.9", 6: "2001:db8:99::9"}


def table(world: World, name: str) -> RouteTable:
    found = (stored.record for stored in world.vpc("acme").of(RouteTable).values())
    return next(each for each in found if each.name == name)


def route(world: World, name: str, *routes: tuple[str, str]) -> None:
    """Set the routes of a table: destinations and targets."""
    known = table(world, name)
    changed = msgspec.structs.replace(known, routes=tuple(VpcRoute(destination=d, target=t) for d, t in routes))
    world.store.txn((), [Put(keys.resource(known.id), encode(changed))])


def associate(world: World, subnet: str, name: str) -> None:
    found = (stored.record for stored in world.vpc("acme").of(Subnet).values())
    subnet_id = next(each.id for each in found if each.name == subnet)
    use_table(world.store, world.caller, subnet_id, table(world, name).id)


def shown(world: World, command: str, host: str = "hv1") -> str:
    """Return the output of an ip command in a host's overlay namespace."""
    done = subprocess.run(["ip", "-n", world.hosts[host].overlay, *command.split()], check=True, capture_output=True, text=True)
    return done.stdout


def rules(world: World) -> str:
    return shown(world, "rule") + shown(world, "-6 rule")


@pytest.fixture
def cloud(world: World) -> World:
    world.start_agents("hv1", "hv2")
    world.apply(CLOUD)
    return world


@pytest.mark.parametrize("version", [4, 6])
def test_one_table_drops_what_the_other_delivers_on_this_host_and_another(cloud: World, version: int) -> None:
    before = rules(cloud)
    everywhere = [(source, target) for source in ("app1", "web1", "web2") for target in ("db1", "db2")]
    assert [pair for pair in everywhere if not _reaches(cloud, *pair, version)] == []
    route(cloud, "closed", (DB4, NOBODY), (DB6, NOBODY))
    cloud.settle()
    assert [pair for pair in everywhere if _reaches(cloud, *pair, version, tries=1)] == [("app1", "db1"), ("app1", "db2")]
    assert _reaches(cloud, "web1", "app1", version), "the rest of the VPC is as before"
    assert _reaches(cloud, "web1", "web2", version)
    assert rules(cloud) == before
    route(cloud, "closed")
    cloud.settle()
    assert [pair for pair in everywhere if not _reaches(cloud, *pair, version)] == []


@pytest.mark.parametrize("version", [4, 6])
def test_a_main_table_that_drops_a_subnet_leaves_it_to_the_others(cloud: World, version: int) -> None:
    route(cloud, "main", (DB4, NOBODY), (DB6, NOBODY))
    cloud.settle()
    from_main = [("app1", "db1"), ("app1", "db2")]
    assert [pair for pair in from_main if _reaches(cloud, *pair, version, tries=1)] == []
    assert _reaches(cloud, "db1", "db2", version), "what stays in a subnet meets no route table"
    # The way there uses the table "closed", the way back the main table, which drops nothing for "web".
    others = [("web1", "db1"), ("web1", "db2"), ("web2", "db1"), ("web2", "db2"), ("app1", "web2"), ("web2", "app1")]
    assert [pair for pair in others if not _reaches(cloud, *pair, version)] == []
    route(cloud, "main")
    cloud.settle()
    assert [pair for pair in from_main if not _reaches(cloud, *pair, version)] == []
    assert f"master vrf{VNI} " in shown(cloud, f"link show {cloud.port('acme/app1')}")


@pytest.mark.parametrize("version", [4, 6])
def test_a_black_hole_is_silent_and_a_missing_route_is_not(cloud: World, version: int) -> None:
    route(cloud, "closed", ("0.0.0.0/0", "blackhole"), ("::/0", "blackhole"))
    cloud.settle()
    asked = [Probe(netns=cloud.instance(f"acme/{name}").id, destination=OUTSIDE[version]) for name in ("app1", "web1")]
    errors = [answer.error for answer in ask(asked, 1.0, tries=2)]
    assert "unreachable" in errors[0]
    assert "unreachable" not in errors[1]
    unknown = "10.44.3.77" if version == 4 else "fd00:44:0:103::77"
    answer = ask([Probe(netns=cloud.instance("acme/web1").id, destination=unknown)], 2.0, tries=1)[0]
    assert not answer.ok
    assert _reaches(cloud, "web1", "web2", version), "a wider route takes nothing of the VPC"


@pytest.mark.parametrize(
    ("pair", "version"), [(("web1", "db1"), 4), (("db1", "web1"), 6), (("web1", "db2"), 6), (("db2", "web1"), 4)], ids=str
)
def test_a_subnet_changes_its_table_under_traffic(cloud: World, pair: tuple[str, str], version: int) -> None:
    def change(name: str) -> str:
        associate(cloud, "web", name)
        return ".1" if name == "closed" else ""

    _fill(cloud)
    _changes_under_traffic(cloud, pair, version, "web1", change)


@pytest.mark.parametrize(("pair", "version"), [(("app1", "web1"), 4), (("db2", "app1"), 6)], ids=str)
def test_another_table_becomes_the_main_one_under_traffic(cloud: World, pair: tuple[str, str], version: int) -> None:
    """Ports of subnets without a table of their own change their VRF; ports of a subnet with its own table do not."""
    _fill(cloud)
    route(cloud, "main", ("203.0.113.0/24", "blackhole"))
    route(cloud, "closed", ("198.51.100.0/24", "blackhole"))

    def change(name: str) -> str:
        set_main_route_table(cloud.store, cloud.caller, table(cloud, name).id)
        return f".{table(cloud, name).number}"

    _changes_under_traffic(cloud, pair, version, "app1", change, names=("closed", "main"))
    assert f"master vrf{VNI}.1 " in shown(cloud, f"link show {cloud.port('acme/web1')}")
    assert "blackhole 203.0.113.0/24" in shown(cloud, f"route show vrf vrf{VNI}.{table(cloud, 'main').number}")
    assert "blackhole" not in shown(cloud, f"route show table {VNI}"), "packets of other hosts find local routes only"
    everywhere = [("app1", "db1"), ("app1", "db2"), ("web1", "app1"), ("db2", "web1"), ("web2", "db1")]
    assert [each for each in everywhere if not _reaches(cloud, *each, version)] == []
    cloud.agent("hv1").audit()
    assert cloud.agent("hv1").pending() == []


def _changes_under_traffic(
    cloud: World,
    pair: tuple[str, str],
    version: int,
    moved: str,
    change: Callable[[str], str],
    names: tuple[str, str] = ("main", "closed"),
) -> None:
    """Let a pair talk while `change` puts tables in force; it returns the expected suffix of the VRF of `moved`'s port."""
    cloud.settle()
    before = rules(cloud)
    near, far = (cloud.eni(f"acme/{name}") for name in pair)
    source, destination = (eni.address if version == 4 else eni.ipv6_address for eni in (near, far))
    with (
        udp_socket(near.instance, source) as out,
        udp_socket(far.instance, destination) as into,
        talking(out, destination) as sent,
    ):
        first = int.from_bytes(into.recv(16), "big")
        changes = []
        for name in names * (MOVES // 2):
            wait_until_sent(sent, 100)
            changes.append(sent())
            suffix = change(name)
            cloud.settle()
            assert f"master vrf{VNI}{suffix} " in shown(cloud, f"link show {cloud.port(f'acme/{moved}')}")
        begin = sent()
        wait_until_sent(sent, 100)
        arrived = heard(into, begin + 50)
    assert max(arrived) > begin, "it arrives after the last change, too"
    lost = set(range(first + 1, max(arrived) + 1)) - arrived
    per_change = sorted(sum(start <= number < end for number in lost) for start, end in pairwise([*changes, max(arrived)]))
    assert per_change[MOVES // 2] <= LOST, "the other half may meet a machine that does something else"
    assert len(lost) <= LOST * MOVES
    print(f"lost per change: {per_change}")
    assert rules(cloud) == before


def test_an_instance_takes_its_table_along_to_a_host_that_had_no_use_for_it(world: World) -> None:
    for host in ("hv1", "hv2"):  # processes: threads of one interpreter would wait for each other during a move
        world.start_process(host)
    world.apply(CLOUD)
    route(world, "closed", ("203.0.113.0/24", "blackhole"))
    lost = []
    for host in ("hv1", "hv2", "hv1", "hv2"):
        traffic = world.traffic("acme/web2", "acme/db2")
        move_instance(world.store, world.caller, world.instance("acme/web2").id, host)
        world.wait_attached()
        lost.append(traffic.stop())
        if host == "hv1":
            wait_for(lambda: f"vrf{VNI}.1" not in shown(world, "link show type vrf", "hv2"), "the VRF to go with its last port")
    assert min(lost) <= LOST
    assert max(lost) <= LOST_AT_WORST, "on a machine that does something else"
    assert "blackhole 203.0.113.0/24" in shown(world, f"route show table {1 << 24 | VNI}", "hv2")
    assert f"master vrf{VNI}.1 " in shown(world, f"link show {world.port('acme/web2')}", "hv2")


def test_a_route_of_a_table_that_somebody_deletes_comes_back(cloud: World) -> None:
    route(cloud, "closed", ("203.0.113.0/24", "blackhole"), (DB4, NOBODY))
    cloud.settle()
    for dst in ("203.0.113.0/24", DB4, "10.44.1.4", "10.44.3.5"):
        command = f"route show table {1 << 24 | VNI} {dst}"
        wait_for(lambda c=command: shown(cloud, c), f"the route to {dst}")  # type: ignore[misc]
        shown(cloud, f"route del table {1 << 24 | VNI} {shown(cloud, command).strip().partition(' proto')[0]}")
        wait_for(lambda c=command: shown(cloud, c), f"the route to {dst} again")  # type: ignore[misc]
    cloud.settle()
    cloud.agent("hv1").audit()
    assert cloud.agent("hv1").pending() == []


def test_an_agent_killed_while_a_subnet_changes_its_table_ends_as_the_records_say(world: World) -> None:
    world.start_agents("hv2")
    world.start_process("hv1")
    world.apply(CLOUD)
    _fill(world)
    chance = random.Random(8)
    for name in ("main", "closed", "main", "closed"):
        agent = world.agents["hv1"]
        assert isinstance(agent, AgentProcess)
        associate(world, "web", name)
        time.sleep(chance.uniform(0.0, 0.3))  # at any point of its work
        agent.kill()
        world.start_process("hv1")
    wait_for(lambda: _reaches(world, "web1", "db2", 4, tries=1), "web1 to reach db2")
    world.stop_agent("hv1")
    world.start_agents("hv1")
    world.settle()
    assert world.agent("hv1").pending() == []
    assert f"master vrf{VNI}.1 " in shown(world, f"link show {world.port('acme/web1')}")
    for version in (4, 6):
        assert _reaches(world, "web1", "db2", version)
        assert _reaches(world, "db1", "web1", version)


def _reaches(world: World, source: str, destination: str, version: int, tries: int = 3) -> bool:
    return world.reaches(f"acme/{source}", f"acme/{destination}", version=version, tries=tries)


def _fill(world: World) -> None:
    """Add many more addresses to the VPC, on a host whose agent does not run."""
    more = "\n".join(
        f"  - {{name: m{number}, subnet: many, host: hv3, address: 10.44.{4 + number // 250}.{number % 250 + 4}}}"
        for number in range(MAPPINGS_ELSEWHERE)
    )
    world.apply(f"{CLOUD}{more}\n", wait=False)
