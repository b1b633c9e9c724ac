"""What happens to other objects when some are deleted, go down or change their master.

The plan recreates objects that would be lost, slices forget them, and the in-memory kernel drops them. All follow these
rules.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from netorch.state.base import KernelObject, Key

Objects = Mapping[Key, KernelObject]


def aftermath(objects: Objects, gone: Collection[KernelObject], moved: Iterable[Key] = ()) -> dict[Key, KernelObject | None]:
    """Return the objects affected by the deletion of `gone`, each with its remaining value, or None if it is lost.

    An object is lost with its parent, or with the object in `needs` unless it was `freed`. A device that outlives its VRF goes
    down for a moment, as do the `moved` devices, which got another master. When a device goes down, it loses all children with
    `lost_when_down`.
    Cost: nothing if no object in `gone` can have children; else O(objects) for each generation, of which there are
    two or three.
    """
    dead = {obj.key for obj in gone if obj.has_children}
    down = {obj.parent for obj in gone if obj.is_up_state and obj.parent is not None} | set(moved)
    left: dict[Key, KernelObject | None] = {}
    known = {obj.key for obj in gone}
    while dead or down:
        found = _next_generation(objects, dead, down, known)
        known |= found.keys()
        left |= found
        dead = {key for key, rest in found.items() if rest is None and objects[key].has_children}
        down = {key for key, rest in found.items() if rest is not None and objects[key].has_children}
    return left


def _next_generation(
    objects: Objects, dead: Collection[Key], down: Collection[Key], known: Collection[Key]
) -> dict[Key, KernelObject | None]:
    found: dict[Key, KernelObject | None] = {}
    for key, obj in objects.items():
        parent, needs = obj.parent, obj.needs
        if key in known or (parent is None and needs is None):
            continue
        if needs in dead:
            found[key] = obj.freed
        elif parent in dead:
            rest = obj.orphan
            if rest is not obj:
                found[key] = rest
        elif parent in down and obj.lost_when_down:
            found[key] = None
    return found
