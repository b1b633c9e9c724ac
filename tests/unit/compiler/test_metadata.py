"""Instance metadata: an agent updates it when the records of security groups change."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

import netorch.compiler.services.metadata
from netorch.model.ids import make_id
from netorch.model.security import SecurityGroup, SecurityGroupRule
from netorch.model.services.metadata import InstanceFacts, tree
from netorch.records import keys
from netorch.records.codec import encode
from netorch.records.read import read_all
from netorch.state.daemons.services.metadata import InstanceMetadata
from tests.unit.agent.conftest import a_world
from tests.unit.agent.world import World


def told(world: World) -> list[str]:
    """Return the group names in the metadata of a host's instances."""
    found = [obj for obj in world.kernels["hv1"].objects.values() if isinstance(obj, InstanceMetadata)]
    return [dict(obj.tree)["meta-data/security-groups"] for obj in found]


def test_a_groups_rules_cost_metadata_nothing_and_its_name_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def counted(facts: InstanceFacts) -> dict[str, str]:
        made.append(facts.id)
        return tree(facts)

    monkeypatch.setattr(netorch.compiler.services.metadata, "tree", counted)
    with a_world(tmp_path) as world:
        vpc, subnet = world.vpc("a")
        world.run(subnet, "hv1")
        world.settle(3)
        (group,) = (stored.record for stored in read_all(world.store, SecurityGroup, vpc.vni).values())
        assert told(world) == [group.name]

        made.clear()
        rule = SecurityGroupRule(id=make_id("sgr", vpc.vni, 1), protocol=6, from_port=80, to_port=80, cidr="0.0.0.0/0")
        group = msgspec.structs.replace(group, ingress=(*group.ingress, rule))
        world.put(keys.resource(group.id), encode(group))
        world.settle(3, audits=False)
        assert made == []

        world.put(keys.resource(group.id), encode(msgspec.structs.replace(group, name="renamed")))
        world.settle(3, audits=False)
        assert told(world) == ["renamed"]
