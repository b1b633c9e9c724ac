"""Operations that the kernel refuses: retried with back-off, reported, and without effect on other VPCs."""

from __future__ import annotations

import errno
from collections.abc import Sequence

import msgspec
import pytest

from netorch.control.actions import subnets
from netorch.control.actions.instances import RunRequest, run_instance
from netorch.drivers.base import KernelEvent, Lost, Underlay, UnderlayChanged
from netorch.drivers.fake.kernel import FakeKernel
from netorch.errors import KernelError
from netorch.model.eni import Attachment, EniState, EniStatus
from netorch.records import keys
from netorch.state.base import KernelObject, Key
from netorch.state.link import IncompleteLink, Link
from netorch.state.nft import NFT_KINDS, NftTable
from netorch.state.op import Create, Delete, Failure, Op
from tests.unit.agent.world import World

REMOTE = ("route", "overlay", 4097, "10.0.0.5/32", 0)


class Counting(FakeKernel):
    """A kernel that records the times of operations on a kind of object, and counts full dumps."""

    def __init__(self, kind: str, world: World) -> None:
        super().__init__()
        self.kind, self.world = kind, world
        self.tried_at: list[float] = []
        self.dumps = 0

    def apply(self, ops: Sequence[Op]) -> list[Failure]:
        if any(op.obj.key[0] == self.kind for op in ops):
            self.tried_at.append(self.world.clock.now)
        return super().apply(ops)

    def dump(self, kinds: frozenset[str] | None = None) -> dict[Key, KernelObject]:
        self.dumps += kinds is None
        return super().dump(kinds)


class Broken(FakeKernel):
    """A kernel whose methods named in `broken` always fail."""

    def __init__(self) -> None:
        super().__init__()
        self.broken: set[str] = set()

    def _check_works(self, method: str) -> None:
        if method in self.broken:
            raise KernelError(method, errno.ENOBUFS)

    def dump(self, kinds: frozenset[str] | None = None) -> dict[Key, KernelObject]:
        self._check_works("dump")
        return super().dump(kinds)

    def events(self) -> list[KernelEvent]:
        self._check_works("events")
        return super().events()

    def apply(self, ops: Sequence[Op]) -> list[Failure]:
        self._check_works("apply")
        return super().apply(ops)

    def underlay(self, vtep: str) -> Underlay | None:
        self._check_works("underlay")
        return super().underlay(vtep)

    def counters(self) -> dict[str, int]:
        self._check_works("counters")
        return super().counters()


def test_a_refused_object_is_tried_again_less_and_less_often(world: World) -> None:
    kernel = world.kernels["hv1"] = Counting("addr", world)
    kernel.fail_next("addr", errno.ENOBUFS, times=4)
    world.start("hv1")
    _, subnet = world.vpc("a")
    world.run(subnet, "hv1")
    for _ in range(200):
        world.turn("hv1", audits=False)
        world.clock.now += 0.1
    pauses = [later - earlier for earlier, later in zip(kernel.tried_at, kernel.tried_at[1:], strict=False)]
    assert pauses == pytest.approx([0.5, 1.0, 2.0, 4.0], abs=0.2)
    world.assert_settled()


def test_a_refused_vpc_is_reported_and_the_others_go_on(world: World) -> None:
    kernel = world.kernels["hv1"]
    (first, one), (_, two) = world.vpc("a"), world.vpc("b")
    kernel.fail_next("addr", errno.ENOBUFS)
    world.run(one, "hv1")
    world.turn("hv1")
    other = world.run(two, "hv1")
    world.turn("hv1")
    told = world.store.get(keys.vpc_status("hv1", first.vni))
    assert told is not None
    assert b"errno 105" in told.value
    assert world.store.get(keys.vpc_status("hv1", other.eni.vni)) is None
    state = world.store.get(keys.eni_status("hv1", other.eni.id))
    assert state is not None
    assert b"attached" in state.value
    world.settle(3)
    assert world.store.get(keys.vpc_status("hv1", first.vni)) is None
    world.assert_settled()


def test_a_refused_object_is_not_forgotten_when_another_of_its_vpc_succeeds(world: World) -> None:
    vpc, subnet = world.vpc("a")
    world.run(subnet, "hv1")
    world.settle(2)
    world.kernels["hv1"].fail_next("route", errno.ENOBUFS)
    remote = world.run(subnet, "hv2")
    world.turn("hv1", audits=False)
    assert REMOTE not in world.kernels["hv1"].objects
    found = world.store.get(keys.mapping(vpc.vni, remote.eni.address))
    assert found is not None
    world.put(keys.mapping(vpc.vni, "10.0.0.77"), found.value.replace(b"10.0.0.5", b"10.0.0.77"))
    world.turn("hv1", audits=False)
    assert ("route", "overlay", 4097, "10.0.0.77/32", 0) in world.kernels["hv1"].objects
    assert world.agents["hv1"].reconciler.problems
    world.settle(5, audits=False)
    assert REMOTE in world.kernels["hv1"].objects
    world.assert_settled()


def test_a_problem_ends_when_nobody_wants_the_refused_object_any_more(world: World) -> None:
    kernel = Counting("none", world)
    world.kernels["hv1"] = kernel
    world.start("hv1")
    vpc, subnet = world.vpc("a")
    world.run(subnet, "hv1")
    world.settle(2)
    kernel.fail_next("addr", errno.ENOBUFS, times=2)
    other = subnets.create_subnet(world.store, world.operator, vpc.id, name="b", cidr="10.0.1.0/24")
    world.turn("hv1")
    subnets.delete_subnet(world.store, world.operator, other.id)
    world.settle(5, audits=False)
    assert world.agents["hv1"].reconciler.problems == {}
    dumps = kernel.dumps
    world.settle(100, audits=False)
    assert kernel.dumps == dumps


def test_a_dropped_vpc_that_cannot_be_removed_is_tried_again_with_back_off(world: World) -> None:
    kernel = Counting("link", world)
    world.kernels["hv1"] = kernel
    world.start("hv1")
    _, subnet = world.vpc("a")
    placed = world.run(subnet, "hv1")
    world.settle(2)
    kernel.tried_at.clear()
    kernel.fail_next("link", errno.EBUSY, times=9)  # three devices per try
    world.delete(keys.placement("hv1", placed.eni.id))
    for _ in range(100):
        world.turn("hv1", audits=False)
        world.clock.now += 0.1
    pauses = [later - earlier for earlier, later in zip(kernel.tried_at, kernel.tried_at[1:], strict=False)]
    assert pauses == pytest.approx([0.5, 1.0, 2.0], abs=0.2)
    assert not any(isinstance(obj, Link) for obj in kernel.objects.values())
    assert world.agents["hv1"].reconciler.problems == {}


@pytest.mark.parametrize("disturb", ["underlay event", "host record"])
def test_nothing_else_is_applied_while_a_table_of_the_host_is_refused(world: World, disturb: str) -> None:
    kernel = FakeKernel()
    kernel.fail_next("nft-table", errno.EPERM, times=1000)
    world.create_host("hv3")
    world.start("hv3", kernel)
    _, subnet = world.vpc("a")
    world.run(subnet, "hv3")
    world.turn("hv3")
    if disturb == "underlay event":
        kernel.tell(UnderlayChanged())
    else:
        record = world.store.get(keys.host_spec("hv3"))
        assert record is not None
        world.put(keys.host_spec("hv3"), record.value.replace(b"}", b',"tags":{"rack":"7"}}'))
    world.turn("hv3")
    world.turn("hv3")
    assert not any(isinstance(obj, Link) for obj in kernel.objects.values())
    status = world.store.get(keys.agent_status("hv3"))
    assert status is not None
    world.settle(3)
    status = world.store.get(keys.agent_status("hv3"))
    assert status is not None
    assert b"errno 1" in status.value
    kernel.host.failures.clear()
    world.settle(40)
    world.assert_settled()


def test_the_host_goes_on_when_somebody_else_has_repaired_its_table(world: World) -> None:
    kernel = FakeKernel()
    world.create_host("hv3")
    kernel.fail_next("nft-table", errno.EPERM, times=3)
    world.start("hv3", kernel)
    for key, obj in world.kernels["hv1"].objects.items():
        if isinstance(obj, NftTable):
            kernel.objects[key] = obj
    _, subnet = world.vpc("a")
    world.run(subnet, "hv3")
    world.settle(5, audits=False)
    world.assert_settled()


def test_the_agent_outlives_a_kernel_that_fails_as_a_whole(world: World) -> None:
    kernel = Broken()
    kernel.identity = world.kernels["hv1"].identity
    world.kernels["hv1"] = kernel
    world.start("hv1")
    _, subnet = world.vpc("a")
    kernel.broken = {"dump", "apply", "underlay", "counters"}
    world.run(subnet, "hv1")
    for event in (Lost(), Lost(NFT_KINDS), UnderlayChanged()):
        kernel.tell(event)
        world.turn("hv1")
        world.clock.now += 1
    status = world.store.get(keys.agent_status("hv1"))
    assert status is not None
    assert b"errno 105" in status.value
    kernel.broken = set()
    world.settle(40, audits=False)
    world.assert_settled()


def test_a_lost_notification_is_made_good_even_when_the_first_dump_fails(world: World) -> None:
    kernel = Broken()
    world.kernels["hv1"] = kernel
    world.start("hv1")
    _, subnet = world.vpc("a")
    world.run(subnet, "hv1")
    world.settle(2)
    kernel.broken = {"dump"}
    removed = next(obj for key, obj in kernel.objects.items() if key[0] == "route")
    kernel.disturb(Delete(removed))
    kernel.events()
    kernel.tell(Lost())
    world.turn("hv1")
    assert removed.key not in kernel.objects
    kernel.broken = set()
    world.settle(5)
    assert removed.key in kernel.objects


def test_events_that_cannot_be_read_do_not_make_the_agent_spin(world: World) -> None:
    kernel = Broken()
    world.kernels["hv1"] = kernel
    agent = world.start("hv1")
    assert kernel.fileno() in agent.descriptors()
    kernel.broken = {"events"}
    kernel.tell(Lost())
    world.turn("hv1")
    assert kernel.fileno() not in agent.descriptors(), "it is still readable"
    assert agent._next_deadline() > world.clock.now
    kernel.broken = set()
    world.settle(5)
    assert kernel.fileno() in agent.descriptors()
    world.assert_settled()


def test_what_was_read_before_a_dump_does_not_outdate_it(world: World) -> None:
    _, subnet = world.vpc("a")
    world.run(subnet, "hv1")
    world.run(subnet, "hv2")
    world.settle(2)
    kernel = world.kernels["hv1"]
    route = kernel.objects[REMOTE]
    del kernel.objects[REMOTE]
    kernel.tell(Lost())
    kernel.disturb(Create(route))  # the kernel reports it with Seen
    del kernel.objects[REMOTE]
    world.turn("hv1", audits=False)
    assert REMOTE in kernel.objects


def test_an_incomplete_device_is_made_again_while_the_store_is_away(world: World) -> None:
    _, subnet = world.vpc("a")
    world.run(subnet, "hv1")
    world.settle(2)
    kernel = world.kernels["hv1"]
    vxlan = kernel.objects["link", "overlay", "vx4097"]
    kernel.host.objects = {key: obj for key, obj in kernel.objects.items() if getattr(obj, "ifname", "") != "vx4097"}
    kernel.objects[vxlan.key] = IncompleteLink(vni=4097, ifname="vx4097")
    world.wires["hv1"].cut = True
    world.start("hv1")
    world.turn("hv1")
    assert kernel.objects["link", "overlay", "vx4097"] == vxlan
    assert ("up", "overlay", "vx4097") in kernel.objects


def test_each_interface_is_told_its_own_refusal(world: World) -> None:
    _, subnet = world.vpc("web")
    requests = [RunRequest(subnet=subnet.id, host="hv1", attachment=Attachment.EXISTING, netns=name) for name in ("one", "two")]
    placed = {request.netns: run_instance(world.store, world.operator, request) for request in requests}
    world.turn("hv1")

    def status(name: str) -> EniStatus:
        kv = world.store.get(keys.eni_status("hv1", placed[name].eni.id))
        assert kv is not None
        return msgspec.json.decode(kv.value, type=EniStatus)

    assert {name: status(name).state for name in placed} == {"one": EniState.FAILED, "two": EniState.FAILED}
    assert "there is no namespace one" in status("one").reason
    assert "there is no namespace two" in status("two").reason
    world.kernels["hv1"].namespaces.add("one")
    world.settle()
    assert status("one") == EniStatus(state=EniState.ATTACHED)
    assert "there is no namespace two" in status("two").reason
