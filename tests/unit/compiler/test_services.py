"""Services for instances: on hypervisors, in each VRF, for the ports on the host; none on edges."""

from __future__ import annotations

import msgspec

from netorch.compiler.base import HostView, LocalEni, LocalTable, VpcPart, VpcView
from netorch.compiler.registry import compile_vpc_part
from netorch.compiler.services.near import ServicesCompiler
from netorch.model.eni import Role
from netorch.model.vpc import Vpc
from netorch.state.base import link_key
from netorch.state.daemons.services.base import ServiceListener
from policy.antispoof import AntiSpoof
from tests.unit.compiler.test_compilers import settled, view_of

_TYPES = {"local": LocalEni, "vpc": Vpc, "tables": LocalTable, "host": HostView}
_PARTS = frozenset({"services.addresses", "services.names", "antispoof.served"})


def texts(view: VpcView) -> list[str]:
    """Return the objects of the parts for names and addresses on a host of the view's role, as text."""
    found = []
    for part in (*ServicesCompiler().parts, *AntiSpoof().parts):
        if isinstance(part, VpcPart) and part.id in _PARTS and part.role is view.host.host.role:
            found += [obj.text() for obj in part.compile(view.only(part.inputs))]
    return found


def changed(view: VpcView, **inputs: object) -> VpcView:
    return msgspec.structs.replace(view, inputs={**view.inputs, **{_TYPES[name]: value for name, value in inputs.items()}})


def test_each_vrf_of_a_hypervisor_is_served_and_its_ports_may_ask() -> None:
    view = view_of(settled("hv1"), "hv1")
    two = (*view.of(LocalTable), LocalTable(id="rtb-00138800000000002", number=1))
    found = texts(changed(view, tables=two))
    for vrf, table in (("vrf5000", ""), ("vrf5000.1", f" table {1 << 24 | 5000}")):
        for address in ("10.0.0.2", "169.254.169.253", "169.254.169.254"):
            assert f"route local {address}/32 dev {vrf}{table}" in found
        assert f"route local fd00:ec2::253/128 dev {vrf}{table} metric 1024" in found
        assert f"names dev {vrf} at 10.0.0.2,169.254.169.253,fd00:ec2::253" in found
    assert "names of vpc 5000 for 10.0.0.0/16,2001:db8::/56" in found
    assert sum("served" in text for text in found) == 4 * len(view.local)


def test_without_dns_support_only_metadata_are_served() -> None:
    view = view_of(settled("hv1"), "hv1")
    off = msgspec.structs.replace(view.vpc, enable_dns_support=False)
    found = texts(changed(view, vpc=(off,)))
    assert found[0] == "route local 169.254.169.254/32 dev vrf5000"
    assert not any("10.0.0.2" in text or "169.254.169.253" in text or "fd00:ec2" in text for text in found)


def test_a_host_without_interfaces_of_the_vpc_serves_nobody() -> None:
    """A host may carry the VPC as a peer; one without subnets has no router address: Linux would flush the routes with it."""
    assert texts(changed(view_of(settled("hv1"), "hv1"), local=())) == []


def test_an_edge_serves_no_instances() -> None:
    view = view_of(settled("hv1"), "hv1")
    edge = msgspec.structs.replace(view.host, host=msgspec.structs.replace(view.host.host, role=Role.EDGE))
    assert texts(changed(view, host=(edge,))) == []


def test_a_listener_goes_with_its_vrf() -> None:
    view = view_of(settled("hv1"), "hv1")
    (part,) = [part for part in ServicesCompiler().parts if part.id == "services.names"]
    assert isinstance(part, VpcPart)
    found = [obj for obj in compile_vpc_part(part, view).values() if isinstance(obj, ServiceListener)]
    assert [obj.needs for obj in found] == [link_key("vrf5000")]
