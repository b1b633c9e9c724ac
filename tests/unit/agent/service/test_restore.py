"""A booting host: the kernel gets the last snapshot's objects, without a network or a store, or nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from netorch.agent.service.restore import restore
from netorch.agent.snapshot import SnapshotFile
from netorch.drivers.fake.kernel import FakeKernel
from netorch.errors import NetorchError
from netorch.records import keys
from tests.unit.agent.world import World


def booted(world: World) -> FakeKernel:
    """Let a host carry a VPC, and return its kernel after a boot: empty, and without a network."""
    _, subnet = world.vpc("a", ipv6="fd00::/56")
    world.run(subnet, "hv1")
    world.run(subnet, "hv2")
    world.settle(3)
    world.kill("hv1")
    return FakeKernel(underlays={})


def file_of(world: World) -> SnapshotFile:
    return SnapshotFile(world.path / "hv1.snapshot")


def test_a_host_that_boots_has_all_before_its_network_and_its_agent_changes_nothing(world: World) -> None:
    kernel = booted(world)
    before = world.kernels["hv1"].objects
    assert restore("hv1", kernel, file_of(world), world.compilers) == {}
    assert kernel.objects == before
    world.kernels["hv1"] = kernel
    kernel.underlays = None  # the network comes up
    kernel.applied.clear()
    world.start("hv1")
    assert world.new_ops("hv1") == []
    world.assert_settled()


def test_a_damaged_snapshot_leaves_the_kernel_empty(world: World, tmp_path: Path) -> None:
    kernel, file = booted(world), file_of(world)
    content = file.path.read_bytes()
    middle = len(content) // 2
    flipped = (content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :] for at in (0, 31, 32, middle, len(content) - 1))
    for damaged in (*flipped, b"", content[:31], content[:32], content[:middle], content[:-1], content + b"\0"):
        file.path.write_bytes(damaged)
        with pytest.raises(NetorchError, match="is unusable; nothing is restored"):
            restore("hv1", kernel, file, world.compilers)
        assert kernel.applied == []


def test_a_host_without_a_snapshot_has_nothing_to_restore(world: World, tmp_path: Path) -> None:
    kernel = FakeKernel(underlays={})
    assert restore("hv1", kernel, SnapshotFile(tmp_path / "none.snapshot"), world.compilers) == {}
    assert kernel.applied == []


def test_a_vpc_that_cannot_be_read_is_left_out_alone(world: World) -> None:
    kernel = booted(world)
    world.start("hv1")
    other, subnet = world.vpc("b", "10.9.0.0/16")
    world.run(subnet, "hv1")
    world.settle(3)
    world.put(keys.vpc(other.vni), b"{")
    world.settle(3)
    world.kill("hv1")
    problems = restore("hv1", kernel, file_of(world), world.compilers)
    assert problems.keys() == {other.vni}
    restored = {obj.vni for obj in kernel.objects.values()}
    assert other.vni not in restored
    assert len({vni for vni in restored if vni > 0}) == 1
