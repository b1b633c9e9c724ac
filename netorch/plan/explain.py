"""Operations as text, one per line, in the syntax of ip(8), bridge(8) and nft(8), for dry runs and golden files.

+ route 10.44.12.4/32 via 192.0.2.12 dev vx5000
~ route 10.44.12.4/32 via 192.0.2.13 dev vx5000 (was: via 192.0.2.12)
- neigh 192.0.2.12 lladdr 02:4e:c0:00:02:0c dev vx5000
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from netorch.state.base import KernelObject, Key, located
from netorch.state.op import Create, Delete, Op, Reload, Replace


def explain(ops: Iterable[Op]) -> str:
    """Return the operations in order, one per line."""
    return "".join(f"{op_text(op)}\n" for op in ops)


def explain_state(objects: Mapping[Key, KernelObject]) -> str:
    """Return the objects by VPC in apply order, one per line."""
    ordered = sorted(objects.values(), key=lambda obj: (obj.vni, obj.order, obj.key))
    return "".join(f"{located(obj)}\n" for obj in ordered)


def op_text(op: Op) -> str:
    """Return one operation as text: + creates, ~ changes in place, - deletes."""
    match op:
        case Create(obj):
            return f"+ {located(obj)}"
        case Delete(obj):
            return f"- {located(obj)}"
        case Replace(old, obj) | Reload(old, obj):
            return f"~ {located(obj)} ({_difference(old.text(), obj.text())})"


def _difference(old: str, new: str) -> str:
    """Return `was: ` and the old words that differ, without the common beginning and end, but with one word before them."""
    if old == new:
        return "changed inside"
    before, after = old.split(), new.split()
    while before and after and before[-1] == after[-1]:
        before.pop()
        after.pop()
    same = next(
        (i for i, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1]), min(len(before), len(after))
    )
    return "was: " + " ".join(before[max(same - 1, 0) :])
