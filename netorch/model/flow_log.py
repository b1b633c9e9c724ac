"""Flow logs: EC2's log of the traffic of a VPC, a subnet or an interface, and the fields of its lines.

Source: the Amazon VPC guide, "Flow log records". The version of a line is the highest of its fields' versions.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final

from netorch.model.record import Record
from netorch.model.rules import Violation, number_text, shown
from netorch.model.vpc import Tags

INTERVAL_FIRST_S: Final = 10  # EC2 allows 60 and 600 s only; a lab needs shorter intervals
INTERVAL_LAST_S: Final = 600

# field -> the version that added it. region to sublocation-id and the two service names are always "-" in netorch.
FIELDS: Final = {
    **dict.fromkeys(("version", "account-id", "interface-id", "srcaddr", "dstaddr", "srcport", "dstport", "protocol"), 2),
    **dict.fromkeys(("packets", "bytes", "start", "end", "action", "log-status"), 2),
    **dict.fromkeys(("vpc-id", "subnet-id", "instance-id", "tcp-flags", "type", "pkt-srcaddr", "pkt-dstaddr"), 3),
    **dict.fromkeys(("region", "az-id", "sublocation-type", "sublocation-id"), 4),
    **dict.fromkeys(("pkt-src-aws-service", "pkt-dst-aws-service", "flow-direction", "traffic-path"), 5),
    "reject-reason": 8,
}
DEFAULT_FORMAT: Final = tuple(field for field, version in FIELDS.items() if version == 2)

_WORD: Final = re.compile(r"\$\{([a-z-]+)\}|([a-z-]+)")


class Traffic(Enum):
    """The traffic that a flow log records."""

    ACCEPT = "ACCEPT"
    REJECT = "REJECT"
    ALL = "ALL"


class FlowLog(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A flow log. Stored at `vpc/<vni>/fl/<id>`."""

    id: str
    vni: int
    name: str
    resource: str  # vpc-, subnet- or eni-; each interface in it has its own lines
    traffic: Traffic = Traffic.ALL
    interval_s: int = INTERVAL_LAST_S  # aggregation interval: a flow has one line per interval
    format: tuple[str, ...] = DEFAULT_FORMAT
    tags: Tags = {}

    @property
    def version(self) -> int:
        """Return the value of the field `version`."""
        return max(FIELDS[field] for field in self.format)


def parse_format(text: str) -> tuple[str, ...] | Violation:
    """Return the fields of a format such as `${version} ${vpc-id}` (EC2's form) or `version vpc-id`, or a Violation."""
    fields = []
    for word in text.split():
        found = _WORD.fullmatch(word)
        field = (found.group(1) or found.group(2)) if found else word
        if field not in FIELDS:
            return Violation(f"{shown(word)} is not a field of flow logs", f"choose among {', '.join(FIELDS)}")
        fields.append(field)
    if not fields:
        return Violation("the format is empty", "name fields, e.g. '${version} ${srcaddr} ${dstaddr} ${action}', or leave it out")
    if len(set(fields)) < len(fields):
        return Violation("the format names a field twice", "name each field once")
    return tuple(fields)


def format_text(fields: tuple[str, ...]) -> str:
    """Return fields as a format in EC2's form."""
    return " ".join(f"${{{field}}}" for field in fields)


def interval(seconds: int) -> Violation | None:
    """Return the error in an aggregation interval, or None."""
    if INTERVAL_FIRST_S <= seconds <= INTERVAL_LAST_S:
        return None
    return Violation(
        f"an interval of {number_text(seconds)} s", f"choose {INTERVAL_FIRST_S} to {INTERVAL_LAST_S} s; EC2's are 60 and 600"
    )
