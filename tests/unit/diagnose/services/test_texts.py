"""The text output for services: `trace`, `reach` and `status`.

NETORCH_UPDATE_GOLDEN=1 rewrites the text; read the difference like a new user before committing it. Ids, MACs, the order of
flows and the chosen edge of a pair are random, so they are masked.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from tests.unit.diagnose.services.conftest import SERVICE, Cloud
from tests.unit.diagnose.services.test_status import living as living

GOLDEN: Final = Path(__file__).with_name("texts.txt")
_DRAWN: Final = (
    (r"\b([0-9a-f]{2}:){5}[0-9a-f]{2}\b", "MAC"),
    (r"\b([a-z]+(?:-con|-svc)?)-[0-9a-f]{13,17}\b", r"\1-ID"),
    (r"\bflows-([0-9a-f]{6})-[0-9a-f]{16}\b", r"flows-\1-HASH"),
    (r"\b24\d\.\d+\.\d+\.\d+|\b25[0-5]\.\d+\.\d+\.\d+", "HOP"),
    (r"\be[12]\b", "eN"),
    (r"\beN, eN\b", "eN"),  # a mapped peering may choose the other edge for the answer
    (r"\b192\.0\.2\.2[12]\b", "192.0.2.2N"),
    (r"running \d+d", "running"),
    (r"revision \d+", "revision N"),
    (r" {2,}", "  "),
)


def test_texts(living: Cloud) -> None:
    commands = {
        ("trace", "acme/acme/one", SERVICE, "tcp/80"): 0,
        ("trace", "acme/acme/one", SERVICE, "tcp/22"): 2,
        ("trace", "acme/acme/one", "169.254.169.253", "udp/53"): 0,
        ("trace", "acme/acme/one", "globex/globex/two", "tcp/443"): 0,
        ("trace", "acme/acme/one", living.front, "tcp/443"): 0,
        ("trace", "acme/acme/one", living.front, "tcp/22"): 2,
        ("--owner", "acme", "trace", "acme/acme/lone", living.front, "tcp/80"): 2,
        ("reach", "--matrix"): 0,
        ("status",): 0,
    }
    text = "\n".join(said(living, command, code) for command, code in commands.items())
    if os.environ.get("NETORCH_UPDATE_GOLDEN"):
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()


def said(cloud: Cloud, command: tuple[str, ...], code: int) -> str:
    """Return a command and its output, with random parts masked."""
    out = cloud.run(*command, code=code).stdout
    for pattern, word in _DRAWN:
        out = re.sub(pattern, word, out)
    lines = [line.rstrip() for line in out.splitlines()]
    if command[0] == "reach":
        lines[1:] = sorted(lines[1:])
    return "\n".join([f"$ netorch {' '.join(command)}", *lines, ""])
