"""What becomes of other objects when some are deleted, go down or get another master.

The plan recreates what would be lost, slices forget it, and the kernel in memory loses it, all by the rules here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from netorch.state.base import KernelObject, Key

Objects = Mapping[Key, KernelObject]


def aftermath(objects: Objects, gone: Collection[KernelObject], moved: Iterable[Key] = ()) -> dict[Key, KernelObject | None]:
    """Return what is left of other objects than the `gone` ones: another value, or nothing.

    What dies with its parent, or with what else it needs, goes. A device that outlives its VRF is taken down for a moment, as the
    `moved` devices are, which got another master. Going down, a device loses what is `lost_when_down`.

    Cost: nothing where none of the gone has children; else O(objects) for each generation, of which there are two or three.
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
            found[key] = None
        elif parent in dead:
            rest = obj.orphan
            if rest is not obj:
                found[key] = rest
        elif parent in down and obj.lost_when_down:
            found[key] = None
    return found
