"""Checks of the subnets and addresses of instances and gateways in one VPC."""

from __future__ import annotations

from netorch.model import rules
from netorch.model.addr import Prefix
from netorch.model.check.notes import Notes, Where, path_of
from netorch.model.cloud import VpcDecl
from netorch.model.outside.provided import HOST_PART
from netorch.model.rules import Violation, shown


class Subnets:
    """The subnets of one VPC, for checks of the resources in them."""

    def __init__(self) -> None:
        self.by_name: dict[str, int] = {}
        self.all_named = True
        self.v4: dict[int, Prefix] = {}
        self.v6: dict[int, Prefix] = {}
        self.provided: dict[int, int] = {}  # number in the VPC's provided ranges -> index of the subnet


class AddressChecker:
    """Checks subnets and addresses of the resources of one VPC one by one, and remembers the addresses already in use."""

    def __init__(self, notes: Notes, vpc: VpcDecl, subnets: Subnets) -> None:
        self._notes = notes
        self._vpc = vpc
        self._subnets = subnets
        self._open = set(subnets.provided.values())  # subnets whose IPv6 prefixes are not known yet
        self._v4: dict[tuple[int | None, int], Where] = {}
        self._v6: dict[tuple[int | None, int], Where] = {}

    def subnet(self, chosen: str, where: Where) -> int | None:
        """Return the index of the chosen subnet, or by default of the VPC's only subnet. Report an error if there is none."""
        subnets, vpc = self._subnets, self._vpc
        if not chosen and len(vpc.subnets) == 1:
            return 0
        index = subnets.by_name.get(chosen)
        if index is not None or (chosen and not subnets.all_named):
            return index
        name = "the VPC" if self._notes.names[vpc.name] else f"VPC {shown(vpc.name)}"
        if chosen:
            what = f"{name} has no subnet {shown(chosen)}"
        elif vpc.subnets:
            what = f"{name} has {len(vpc.subnets)} subnets, and none is chosen"
        else:
            what = f"{name} has no subnet for an instance"
        fix = f"choose one of {', '.join(subnets.by_name)}" if subnets.by_name else "declare a subnet in the VPC"
        self._notes.add(Violation(what, fix), where, ("subnet",))
        return None

    def address(self, text: str, version: int, where: Where, index: int | None) -> None:
        """Report errors in an address in the subnet of that index. None: the subnet is unknown."""
        field, taken = ("address", self._v4) if version == 4 else ("ipv6_address", self._v6)
        value = rules.address(text, version)
        within = index if version == 6 and index in self._open else None  # where the address must be unique; None: the VPC
        if isinstance(value, Violation):
            self._notes.add(value, where, (field,))
        elif (other := taken.setdefault((within, value), where)) is not where:
            violation = Violation(f"{text} is also the address of {path_of(other)}", "choose another one, or leave it out")
            self._notes.add(violation, where, (field,))
        elif index is not None and (violation_ := self._misplaced(text, version, value, index)):
            self._notes.add(violation_, where, (field,))

    def _misplaced(self, text: str, version: int, value: int, index: int) -> Violation | None:
        """Return why an address cannot be used in that subnet, or None."""
        subnet = self._vpc.subnets[index]
        known = self._subnets.v4 if version == 4 else self._subnets.v6
        prefix = HOST_PART if version == 6 and index in self._open else known.get(index)
        if prefix is None:  # no prefix, or an invalid one that is already reported
            if version == 4 or subnet.ipv6_cidr:
                return None
            return Violation(f"{text} is in a subnet without IPv6", "give the subnet an ipv6_cidr, or leave the address out")
        if not prefix.holds(version, value):
            fix = f"choose one inside {prefix}" if prefix != HOST_PART else "write its part within the /64, e.g. ::4"
            return Violation(f"{text} is outside subnet {shown(subnet.name)}", f"{fix}, or leave it out")
        if rules.is_reserved(prefix, value):
            use = "its router" if value == prefix.network + 1 else "one of its first four or its last"
            return Violation(
                f"{text} is reserved in {prefix}: {use}", f"choose {rules.first_free(prefix)} or a later one, or leave it out"
            )
        return None
