"""Flows whose reasons changed in the kernel, although their flowtable has the same name.

A flowtable's name stands for the records that its flows rest on, not for what a kernel holds: another program may have altered
rules, and connections that only the altered rules permit were offloaded. So a flowtable that stays is emptied, i.e. deleted and
created again, when

    ACLs, borders or chains that add flows are replaced     a change of the records that matters to flows changes the name
    a port is led to another chain                          its groups are others: the name has what each set of groups permits
                                                            without tracking, but not which port has which groups
    in doubt, any chain is created or replaced,             what the records changed is not distinguished from what another
    or an element replaced, or a port led to a chain        program did: after a start, and after such a change was noticed
    in doubt, a device joins it                             it may have left because the flowtable was to be emptied, and then
                                                            the kernel refused that, or the agent died

Without doubt, a group's rules change by the records alone: tracked connections outlive their rules, and untracked permissions
are in the name.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from netorch.state.base import KernelObject, Key

Objects = Mapping[Key, KernelObject]


def lost_reasons(desired: Objects, actual: Objects, doubted: Collection[int]) -> set[int]:
    """Return the VPCs whose flows may rest on rules that are no longer there. Cost: O(len(desired)).

    Args:
      doubted: the VPCs whose objects others may have changed
    """
    return {
        obj.vni for key, obj in desired.items() if obj.judges and obj.ends_flows(actual.get(key), in_doubt=obj.vni in doubted)
    }
