"""Plan the instances of one VPC as declared: terminations, tag changes, moves, new instances."""

from __future__ import annotations

import base64

import msgspec

from netorch.control.actions.enis import choose_mac, host_names, modify_writes, targets_in
from netorch.control.actions.instances import make_instance, make_interface, run_writes, wants_public
from netorch.control.actions.memberships import change_groups
from netorch.control.actions.moves import move_writes
from netorch.control.apply.base.ends import delete_instance, enis_by_instance
from netorch.control.apply.base.subnet_pools import SubnetPools
from netorch.control.apply.builder import PlanBuilder, instance_hosts, of_source, own_tags, visible_tags
from netorch.control.apply.changes import Action, Change, Difference, differences, member_differences, sides
from netorch.control.apply.policy import PolicyPlanner
from netorch.control.base.addresses import AddressPool
from netorch.control.base.namespaces import check_right
from netorch.control.base.writes import ABSENT, Writes
from netorch.control.placement.choice import choose_host, place_on, refusal
from netorch.errors import ApiError
from netorch.model.addr import canonical_ip
from netorch.model.cloud import InstanceDecl, VpcDecl
from netorch.model.eni import Attachment, Instance, NetworkInterface, primary_eni_id
from netorch.model.mapping import MoveDirection
from netorch.model.normal import normal_memberships
from netorch.model.rules import normal_netns
from netorch.model.security import SecurityGroup
from netorch.model.services.declared import metadata_options, user_data
from netorch.model.services.metadata import MetadataOptions, option_words
from netorch.model.vpc import Subnet
from netorch.records import keys
from netorch.records.errors import not_found
from netorch.records.hosts import HostState
from netorch.records.read import Stored
from netorch.records.valid.needs import SOURCE_TAG
from netorch.records.vpc import VpcRecords


class InstancePlanner:
    """Plans one VPC's instances; deletions come before the VPC's structure, additions after it."""

    def __init__(self, builder: PlanBuilder, decl: VpcDecl, records: VpcRecords, gone_subnets: set[str]) -> None:
        self._builder = builder
        self._decl = decl
        self._records = records
        self._gone = gone_subnets
        self._enis = enis_by_instance(records) if records.of(NetworkInterface) else {}
        self._stored = {stored.record.name: stored for stored in records.of(Instance).values()}
        self._replaced: dict[str, tuple[Difference, ...]] = {}
        self.interfaces: dict[str, str] = {}  # instance -> primary interface, after the plan
        self._macs: set[str] = set()
        self._host_names: set[str] = set()

    def plan_deletions(self) -> None:
        """Add the termination of instances that are not declared, or that must be recreated."""
        if not self._stored:
            return
        declared = {decl.name: decl for decl in self._decl.instances}
        for name, stored in self._stored.items():
            decl = declared.get(name)
            if decl is None:
                self._delete(stored)
                self._note(Action.DELETE, stored, ())
            elif why := self._unchangeable(stored.record, decl):
                self._delete(stored)
                self._replaced[name] = why

    def _delete(self, stored: Stored[Instance]) -> None:
        enis = self._enis.get(stored.record.id, [])
        delete_instance(self._builder, self._records, stored, enis, whole=False)
        self._records.of(NetworkInterface).pop(primary_eni_id(stored.record.id), None)

    def _note(self, action: Action, stored: Stored[Instance], diff: tuple[Difference, ...]) -> None:
        change = Change(
            action=action,
            kind="instance",
            owner=self._decl.owner,
            vpc=self._decl.name,
            name=stored.record.name,
            resource_id=stored.record.id,
            differences=diff,
            breaks=self._breaks(stored) if action is Action.DELETE else "",
            ends=int(action is Action.DELETE),
            hosts=instance_hosts(self._records, self._enis.get(stored.record.id, ())),
        )
        self._builder.changes.append(change)

    def _breaks(self, stored: Stored[Instance]) -> str:
        """Return what ends with an instance, as a text: its other interfaces stay, but are detached."""
        others = [eni.record for eni in self._enis.get(stored.record.id, ()) if eni.record.id != primary_eni_id(stored.record.id)]
        detached = "".join(f"; interface {eni.name or eni.id} {eni.address} is detached" for eni in others)
        return f"its connections end{detached}"

    def _unchangeable(self, instance: Instance, decl: InstanceDecl) -> tuple[Difference, ...]:
        """Return the differences for which an instance must be recreated; none if it can stay."""
        own = self._own(instance)
        subnet = self._records.of(Subnet)[own.subnet].record
        request = decl.subnet or (self._decl.subnets[0].name if len(self._decl.subnets) == 1 else subnet.name)
        fields: dict[str, tuple[object, object]] = {
            "subnet": (subnet.name, request),
            "address": (own.address, decl.address or own.address),
            "ipv6_address": (own.ipv6_address, canonical_ip(decl.ipv6_address) if decl.ipv6_address else own.ipv6_address),
            "mac": (own.mac, decl.mac.lower() or own.mac),
            "attachment": (instance.attachment.value, decl.attachment.value),
            "netns": (normal_netns(instance.netns), normal_netns(decl.netns)),
        }
        wanted = user_data(decl.user_data, decl.user_data_base64) or instance.user_data
        if wanted != instance.user_data:
            fields["user_data"] = _user_data_sides(instance.user_data, wanted)
        if own.subnet in self._gone and subnet.name == request:
            fields["subnet"] = (f"{subnet.name} {subnet.cidr}", request)
        if instance.attachment is Attachment.EXISTING and decl.host:
            fields["host"] = (self._place(own), decl.host)
        return differences(**fields)

    def _own(self, instance: Instance) -> NetworkInterface:
        return self._records.of(NetworkInterface)[primary_eni_id(instance.id)].record

    def _place(self, eni: NetworkInterface) -> str:
        """Return the host of an interface; during a move, the target host."""
        mapping = self._records.mappings[eni.address].record
        return mapping.move.host if mapping.move is not None and mapping.move.direction is MoveDirection.TO else mapping.host

    def plan_additions(self, subnets: dict[str, Subnet], pools: SubnetPools, policy: PolicyPlanner) -> None:
        """Add new instances, changes and moves; `subnets`, by name, and the groups of `policy` are those after the plan."""
        new = []
        for decl in self._decl.instances:
            stored = self._stored.get(decl.name)
            if stored is None or decl.name in self._replaced:
                new.append(decl)
            else:
                self.interfaces[decl.name] = primary_eni_id(stored.record.id)
                first = len(self._builder.changes)
                changed = self._plan_record(stored, decl)
                self._plan_groups(stored, decl, policy)
                self._plan_check(stored, decl)
                self._plan_move(stored, decl)
                if self._is_default_instance(decl):
                    self._pass_over(stored, changed, first)
        if new:
            self._plan_new(new, subnets, pools, policy)

    def _pass_over(self, stored: Stored[Instance], instance: Instance, first: int) -> None:
        """Pass an instance of the top level to this file if the file has changed it, or if the instance's own file is gone."""
        before = instance.tags.get(SOURCE_TAG, "")
        after = self._builder.source.after(before, changed=len(self._builder.changes) > first)
        if after != before:
            changed = msgspec.structs.replace(instance, tags=of_source(instance.tags, after))
            self._builder.step().change(keys.resource(instance.id), stored.mod_revision, changed)
            self._note(Action.CHANGE, stored, differences(source=(before, after)))

    def _plan_record(self, stored: Stored[Instance], decl: InstanceDecl) -> Instance:
        """Add changes of tags and metadata options; return the changed instance."""
        instance = stored.record
        options = metadata_options(decl.metadata_options)
        changed = msgspec.structs.replace(instance, tags=own_tags(decl.tags, instance.tags), metadata=options)
        if changed != instance:
            self._builder.step().change(keys.resource(instance.id), stored.mod_revision, changed)
            before, after = option_words(instance.metadata), option_words(options)
            told = {field: (str(before[field]), str(after[field])) for field in before}
            self._note(Action.CHANGE, stored, differences(tags=(visible_tags(instance.tags), decl.tags), **told))
        return changed

    def _plan_groups(self, stored: Stored[Instance], decl: InstanceDecl, policy: PolicyPlanner) -> None:
        eni_id = primary_eni_id(stored.record.id)
        eni = self._records.of(NetworkInterface)[eni_id]
        before = eni.record
        groups = policy.groups_of(decl.security_groups, len(before.groups))
        if before.groups == tuple(groups):
            return
        mappings = self._records.mappings_of(before)
        changed = change_groups(self._builder.step(), eni, mappings, groups)
        for mapping in mappings.values():  # a move is planned with these mappings
            moved_on = msgspec.structs.replace(mapping.record, groups=changed.groups)
            self._records.mappings[moved_on.address] = Stored(moved_on, ABSENT)
        self._records.of(NetworkInterface)[eni_id] = Stored(changed, ABSENT)
        names = {found.record.id: found.record.name for found in (*self._records.of(SecurityGroup).values(), *groups.values())}
        sides = (tuple(names[group_id] for group_id in side) for side in (before.groups, changed.groups))
        self._note(Action.CHANGE, stored, tuple(member_differences("security_groups", *sides)))

    def _plan_check(self, stored: Stored[Instance], decl: InstanceDecl) -> None:
        eni_id = primary_eni_id(stored.record.id)
        eni = self._records.of(NetworkInterface)[eni_id]
        writes = Writes()
        changed = modify_writes(writes, eni, source_dest_check=decl.source_dest_check)
        if writes:
            self._builder.steps.append(writes)
            self._records.of(NetworkInterface)[eni_id] = Stored(changed, ABSENT)
            sides = (_check_text(eni.record), _check_text(changed))
            self._note(Action.CHANGE, stored, differences(source_dest_check=sides))

    def _plan_move(self, stored: Stored[Instance], decl: InstanceDecl) -> None:
        here = self._place(self._own(stored.record))
        if not decl.host or decl.host == here:
            return
        writes = Writes()
        writes.expect(keys.resource(stored.record.id), stored.mod_revision)
        target = self._host(decl)
        enis = self._enis[stored.record.id]
        self._expect_acceptance(decl, target, len(enis))
        place_on(writes, target, self._records.vni, len(enis))
        for eni in enis:
            move_writes(writes, eni.record, self._records.mappings_of(eni.record), target.host)
        self._builder.steps.append(writes)
        self._note(Action.MOVE, stored, differences(host=(here, decl.host)))
        last = self._builder.changes[-1]
        self._builder.changes[-1] = msgspec.structs.replace(last, hosts=tuple(sorted({*last.hosts, decl.host})))

    def _host(self, decl: InstanceDecl) -> HostState:
        """Return the host that is declared, or a chosen one: the same one whenever the same store is planned again."""
        self._builder.inventory.check_host(decl.host)
        seed = f"{self._decl.owner}/{self._decl.name}/{decl.name}"
        return choose_host(self._builder.placeable, decl.host, self._records.vni, seed)

    def _expect_acceptance(self, decl: InstanceDecl, state: HostState, interfaces: int) -> None:
        """Refuse a host that the file names and that is drained or full. Raises ApiError with the place in the file."""
        refused = refusal(state, interfaces) if decl.host else None
        if refused is not None:
            code, why = refused
            place = self._builder.source.place_of(self._decl.owner, self._decl.name, decl.name)
            what = f"instance {decl.name!r} in VPC {self._decl.name}: host {decl.host}: {why.what}"
            fix = f"remove `host: {decl.host}` to leave the choice to netorch, {why.fix}"
            raise ApiError(code, f"{place}{': ' if place else ''}{what}; {fix}")

    def _host_of_new(self, decl: InstanceDecl, instance: Instance) -> HostState:
        """Return the host of a new instance. One that is recreated stays on its host, if that accepts instances."""
        before = self._stored[instance.name] if instance.name in self._replaced else None
        if before is not None and not decl.host:
            state = self._builder.hosts.get(self._place(self._own_before(before.record)))
            if state is not None and not (state.drained or state.silent or state.deleting):
                return state
        return self._host(decl)

    def _own_before(self, instance: Instance) -> NetworkInterface:
        """Return the primary interface of an instance that is recreated."""
        return next(eni.record for eni in self._enis[instance.id] if eni.record.id == primary_eni_id(instance.id))

    def _plan_new(self, decls: list[InstanceDecl], subnets: dict[str, Subnet], pools: SubnetPools, policy: PolicyPlanner) -> None:
        self._macs = {eni.record.mac for eni in self._records.of(NetworkInterface).values()}
        self._host_names = {name for found in targets_in(self._records) for name in host_names(found)}
        only = next(iter(subnets.values())) if len(subnets) == 1 else None
        chosen = []
        for decl in decls:  # requests first, so that no address is given out that a later one requests
            subnet = subnets.get(decl.subnet) if decl.subnet else only
            if subnet is None:  # a valid file names one, but a stored default VPC may have other subnets than a new one
                if decl.subnet:
                    raise not_found("subnet", decl.subnet)
                text = f"instance {decl.name!r} in VPC {self._decl.name}: no subnet is chosen; name one of the VPC's"
                raise ApiError("MissingParameter", text)
            pool = pools.of(subnet)
            requested = {"address": pool.requested(decl.address, 4), "ipv6_address": pool.requested(decl.ipv6_address, 6)}
            chosen.append((decl, pool, {"mac": self._mac(decl) if decl.mac else "", **requested}))
        made = [(decl, pool, *self._make(decl, pool, policy, requested)) for decl, pool, requested in chosen]
        for decl, pool, instance, eni, groups in made:
            self._add(decl, pool, instance, eni, groups)

    def _mac(self, decl: InstanceDecl) -> str:
        where = f"instance {decl.name!r} in VPC {self._decl.name}"
        mac = choose_mac(self._macs.__contains__, self._builder.caller, where, decl.mac)
        self._macs.add(mac)
        return mac

    def _make(
        self, decl: InstanceDecl, pool: AddressPool, policy: PolicyPlanner, requested: dict[str, str]
    ) -> tuple[Instance, NetworkInterface, dict[str, Stored[SecurityGroup]]]:
        caller = self._builder.caller
        check_right(caller, f"instance {decl.name!r} in VPC {self._decl.name}", decl.attachment)
        tags = of_source(decl.tags, self._builder.source.label) if self._is_default_instance(decl) else decl.tags
        replaced = self._stored.get(decl.name)
        kept = replaced.record.user_data if replaced is not None else ""
        instance = make_instance(
            caller,
            self._records.vni,
            self._host_names,
            name=decl.name,
            attachment=decl.attachment,
            netns=decl.netns,
            user_data=user_data(decl.user_data, decl.user_data_base64) or kept,
            metadata=metadata_options(decl.metadata_options),
            tags=tags,
        )
        groups = policy.groups_of(decl.security_groups)
        requested["mac"] = requested["mac"] or self._mac(decl)
        eni = make_interface(pool, instance, groups, source_dest_check=decl.source_dest_check, **requested)
        return instance, eni, groups

    def _is_default_instance(self, decl: InstanceDecl) -> bool:
        return decl.name in self._builder.default_instances and self._builder.default_instances_only(
            self._decl.owner, self._decl.name
        )

    def _add(
        self,
        decl: InstanceDecl,
        pool: AddressPool,
        instance: Instance,
        eni: NetworkInterface,
        groups: dict[str, Stored[SecurityGroup]],
    ) -> None:
        self.interfaces[decl.name] = eni.id
        subnet = self._records.of(Subnet)[eni.subnet]
        state = self._host_of_new(decl, instance)
        self._expect_acceptance(decl, state, 1)
        writes = self._builder.step()
        run_writes(writes, self._records.vpc, subnet, groups, instance, eni, state)
        self._builder.namespaces.take(writes, instance, state.host.name)
        pool.save(writes)
        self._records.of(NetworkInterface)[eni.id] = Stored(eni, ABSENT)
        asked = None if isinstance(decl.public_address, msgspec.UnsetType) else decl.public_address
        is_public = not decl.elastic_ip and wants_public(asked, subnet.record)
        if is_public:
            self._builder.ephemeral_in(self._records).give(writes, eni)
        self._note_new(decl, instance, eni, state.host.name, is_public=is_public)

    def _note_new(self, decl: InstanceDecl, instance: Instance, eni: NetworkInterface, host: str, *, is_public: bool) -> None:
        why = self._replaced.get(instance.name, ())
        before = self._stored[instance.name] if why else None
        hosts = {host}
        mac = ""
        fields = ("address", "ipv6_address", "mac", "host", "security_groups", "source_dest_check", "public_address")
        were = dict.fromkeys((*fields, "elastic_ip", "user_data", "metadata_options", "source"), "")
        if before is not None:
            hosts |= set(instance_hosts(self._records, self._enis.get(before.record.id, ())))
            were = self._sides(before.record)
            mac = decl.mac.lower() or "a new one"  # random, so it differs in the next plan
        now = {"address": eni.address, "ipv6_address": eni.ipv6_address, "mac": mac, "host": host}
        now |= _told_words(instance)
        now |= {
            "security_groups": " ".join(sorted(decl.security_groups)),
            "source_dest_check": _check_text(eni) if before is not None or not eni.source_dest_check else "",
            "public_address": "a new one" if is_public else "",
            "elastic_ip": decl.elastic_ip,
            "source": instance.tags.get(SOURCE_TAG, "") if before is not None else "",
        }
        told = {item.field for item in why}
        effects = differences(**{field: (were[field], now[field]) for field in were if field not in told})
        change = Change(
            action=Action.ADD if before is None else Action.REPLACE,
            kind="instance",
            owner=self._decl.owner,
            vpc=self._decl.name,
            name=instance.name,
            resource_id=before.record.id if before is not None else "",
            differences=why + effects,
            breaks=f"{self._breaks(before)}; it gets a new id" if before is not None else "",
            ends=int(before is not None),
            hosts=tuple(sorted(hosts)),
        )
        self._builder.changes.append(change)

    def _sides(self, instance: Instance) -> dict[str, str]:
        """Return the attributes of an instance to recreate for people, before the plan."""
        own = self._own_before(instance)
        names = {group_id: stored.record.name for group_id, stored in self._records.of(SecurityGroup).items()}
        public = [found.record for found in self._builder.publics_of(self._records).of(own.id)]
        return {
            "address": own.address,
            "ipv6_address": own.ipv6_address,
            "mac": own.mac,
            "host": self._place(own),
            "security_groups": " ".join(normal_memberships([names[group_id] for group_id in own.groups])),
            "source_dest_check": _check_text(own),
            "public_address": " ".join(found.address for found in public if not found.allocation),
            "elastic_ip": " ".join(self._builder.elastic_name(found) for found in public if found.allocation),
            "source": instance.tags.get(SOURCE_TAG, ""),
            **_told_words(instance),
        }


def _told_words(instance: Instance) -> dict[str, str]:
    """Return an instance's user data size and its metadata options other than the defaults, for people."""
    options = option_words(instance.metadata).items() - option_words(MetadataOptions()).items()
    size = len(base64.b64decode(instance.user_data))
    return {"user_data": f"{size} bytes" if size else "", "metadata_options": " ".join(f"{k} {v}" for k, v in sorted(options))}


def _user_data_sides(before: str, after: str) -> tuple[str, str]:
    """Return the sizes of changed user data for people: the data may be secret."""
    sizes = [f"{len(base64.b64decode(text))} bytes" if text else "" for text in (before, after)]
    return sides(sizes[0], sizes[1])


def _check_text(eni: NetworkInterface) -> str:
    """Return an interface's source/dest check as in a file."""
    return "true" if eni.source_dest_check else "false"
