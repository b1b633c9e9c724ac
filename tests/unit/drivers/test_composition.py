"""An unknown kind of object with its own driver, from the compiler to the kernel and back."""

from __future__ import annotations

import ast
import errno
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import pytest

import netorch
from netorch.agent.slices import Slice
from netorch.drivers.base import Gone, KernelEvent, Lost, Seen
from netorch.drivers.fake.host import FakeDriver, FakeHost
from netorch.drivers.fake.kernel import FakeKernel
from netorch.errors import KernelError
from netorch.plan.diff import diff
from netorch.plan.explain import explain
from netorch.state.base import UNDERLAY, KernelObject, Key, OnDevice
from netorch.state.link import AdminUp, Vrf
from netorch.state.op import Create, Delete, Failure, Op, Replace
from netorch.state.order import Order

# All modules between compilers and drivers, and the compositions of real and fake drivers.
GENERAL = (
    "plan/*.py",
    "agent/slices.py",
    "agent/reconcile.py",
    "drivers/composition.py",
    "drivers/fake/kernel.py",
    "drivers/fake/host.py",
)
CONCRETE = {f"netorch.state.{module}" for module in ("l2", "l3", "link", "nft", "foreign")}


class Qdisc(OnDevice, frozen=True, kw_only=True):
    """An example kind: a queueing discipline."""

    kind: ClassVar[str] = "qdisc"
    has_children: ClassVar[bool] = True
    order: ClassVar[int] = Order.DEVICE_SYSCTL

    handle: int

    @property
    def key(self) -> Key:
        return ("qdisc", self.netns, self.ifname)

    def text(self) -> str:
        return f"qdisc {self.handle:x}: dev {self.ifname}"


class Filter(KernelObject, frozen=True, kw_only=True):
    """An object on the queueing discipline."""

    kind: ClassVar[str] = "filter"
    in_place: ClassVar[bool] = True
    order: ClassVar[int] = Order.MAPPING_ROUTE

    ifname: str
    pref: int
    action: str

    @property
    def key(self) -> Key:
        return ("filter", self.netns, self.ifname, self.pref)

    @property
    def parent(self) -> Key | None:
        return ("qdisc", self.netns, self.ifname)

    @property
    def lost_when_down(self) -> bool:
        return True

    def text(self) -> str:
        return f"filter dev {self.ifname} pref {self.pref} action {self.action}"


class FakeTc(FakeDriver):
    """The driver's fake: it refuses the same objects as its kernel."""

    def __init__(self, host: FakeHost) -> None:
        super().__init__(host, "overlay", frozenset({Qdisc.kind, Filter.kind}))

    def check(self, obj: KernelObject) -> None:
        super().check(obj)
        if isinstance(obj, Filter) and not obj.pref:
            raise OSError(errno.EINVAL, "no preference")


VNI = 5000
VRF = Vrf(vni=VNI, ifname="vrf5000", table=VNI)
UP = AdminUp(vni=VNI, ifname="vrf5000")
QDISC = Qdisc(vni=VNI, ifname="vrf5000", handle=0x10)
DROP = Filter(vni=VNI, ifname="vrf5000", pref=10, action="drop")
PASS = Filter(vni=VNI, ifname="vrf5000", pref=10, action="pass")
ALL: dict[Key, KernelObject] = {obj.key: obj for obj in (VRF, UP, QDISC, DROP)}


@pytest.fixture
def kernel() -> Iterator[FakeKernel]:
    kernel = FakeKernel(more=[FakeTc])
    yield kernel
    kernel.close()


def applied(target: Slice, kernel: FakeKernel) -> list[Op]:
    """Apply a slice's difference to a kernel, like the reconciler, and return the operations."""
    ops = diff(*target.difference())
    assert [str(failure.error) for failure in kernel.apply(ops)] == []
    target.applied(ops)
    return ops


def test_it_is_made_changed_read_back_and_removed(kernel: FakeKernel) -> None:
    target = Slice()
    target.set_part(("tc", ""), ALL)
    assert applied(target, kernel) == [Create(VRF), Create(UP), Create(QDISC), Create(DROP)]
    assert kernel.dump() == target.actual == ALL
    assert kernel.dump(frozenset({"filter"})) == {QDISC.key: QDISC, DROP.key: DROP}, "what the driver of the kind shows"
    target.set_part(("tc", ""), ALL | {PASS.key: PASS})
    assert applied(target, kernel) == [Replace(DROP, PASS)]
    target.clear()
    assert applied(target, kernel) == [Delete(VRF)]
    assert kernel.dump() == target.actual == {}


def test_what_goes_with_its_parent_is_made_again_with_it(kernel: FakeKernel) -> None:
    target = Slice()
    target.set_part(("tc", ""), ALL)
    applied(target, kernel)
    kernel.disturb(Delete(QDISC))
    assert kernel.events() == [Lost()], "nobody says what went with it"
    target.gone(QDISC.key)
    assert applied(target, kernel) == [Create(QDISC), Create(DROP)]
    other = Qdisc(vni=VNI, ifname="vrf5000", handle=0x20)
    target.set_part(("tc", ""), ALL | {other.key: other})
    assert applied(target, kernel) == [Delete(QDISC), Create(other), Create(DROP)]
    assert kernel.dump() == target.actual == ALL | {other.key: other}


def test_what_others_do_to_it_is_an_event(kernel: FakeKernel) -> None:
    kernel.apply([Create(obj) for obj in ALL.values()])
    kernel.disturb(Replace(DROP, PASS))
    kernel.disturb(Delete(PASS))
    assert kernel.events() == [Seen(PASS), Gone(PASS.key, VNI)]


def test_a_refusal_is_named_and_stops_no_other_driver(kernel: FakeKernel) -> None:
    bad = Filter(vni=VNI, ifname="vrf5000", pref=0, action="drop")
    failures = kernel.apply([Create(bad), *(Create(obj) for obj in ALL.values()), Create(bad)])
    assert [str(failure.error) for failure in failures] == [
        "create filter dev vrf5000 pref 0 action drop: No such device (errno 19)",
        "create filter dev vrf5000 pref 0 action drop: Invalid argument (errno 22): no preference",
    ]
    assert kernel.dump() == ALL


class Exhausted(FakeTc):
    """A driver whose process has no descriptor left."""

    def dump(self) -> dict[Key, KernelObject]:
        raise OSError(errno.EMFILE, "Too many open files")

    def apply(self, ops: Sequence[Op]) -> list[Failure]:
        raise OSError(errno.EMFILE, "Too many open files")

    def events(self) -> list[KernelEvent]:
        raise OSError(errno.EMFILE, "Too many open files")


def test_a_driver_that_fails_as_a_whole_refuses_its_own_operations_and_no_others() -> None:
    kernel = FakeKernel(more=[Exhausted])
    after = Vrf(vni=VNI + 1, ifname="vrf5001", table=VNI + 1)
    failures = kernel.apply([Create(VRF), Create(QDISC), Create(DROP), Create(after)])
    assert [(failure.op.obj, failure.error.errno) for failure in failures] == [(QDISC, errno.EMFILE), (DROP, errno.EMFILE)]
    assert kernel.objects.keys() == {VRF.key, after.key}
    for read in (kernel.dump, kernel.events):
        with pytest.raises(KernelError, match=r"read .*overlay: Too many open files"):
            read()
    kernel.close()


def test_it_reads_as_it_says() -> None:
    assert explain([Create(QDISC), Replace(DROP, PASS)]) == (
        "+ qdisc 10: dev vrf5000\n~ filter dev vrf5000 pref 10 action pass (was: action drop)\n"
    )


@pytest.mark.parametrize("stray", [QDISC, Vrf(vni=VNI, netns=UNDERLAY, ifname="vrf5000", table=VNI)])
def test_what_no_driver_is_there_for_is_refused(stray: KernelObject) -> None:
    kernel = FakeKernel()
    (failure,) = kernel.apply([Create(stray)])
    assert failure.error.errno == errno.EOPNOTSUPP
    assert kernel.dump() == {}
    kernel.close()


@pytest.mark.parametrize("pattern", GENERAL)
def test_the_general_part_imports_no_kind_of_object(pattern: str) -> None:
    files = sorted(Path(netorch.__path__[0]).glob(pattern))
    assert files
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            imported = {node.module} if isinstance(node, ast.ImportFrom) else set()
            if isinstance(node, ast.Import):
                imported = {alias.name for alias in node.names}
            assert not imported & CONCRETE, f"{file.name} line {getattr(node, 'lineno', 0)}"
