"""Services of this machine that flush all nftables tables, including the one that verifies arriving VXLAN packets.

`flush ruleset` deletes every table. Until the agent has restored netorch's, packets from other hosts are dropped: some tenths
of a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

_CONFIGS: Final = ("etc/nftables.conf", "etc/sysconfig/nftables.conf")
_UNIT: Final = "nftables.service"


def flush_warnings(root: Path = Path("/")) -> Iterator[str]:
    """Yield a warning for each enabled service that flushes the ruleset; `root` is the root of the machine's files."""
    wanted = [path for path in (root / "etc/systemd/system").glob(f"*.wants/{_UNIT}") if path.is_symlink() or path.exists()]
    for name in _CONFIGS:
        path = root / name
        if wanted and path.is_file() and _flushes(path):
            yield (
                f"{_UNIT} is enabled and /{name} says `flush ruleset`: each reload removes netorch's verification, so "
                "packets from other hosts are dropped for a moment; let it delete only its own tables"
            )


def _flushes(path: Path) -> bool:
    text = path.read_text(encoding="utf-8", errors="replace")
    commands = (command.split() for line in text.splitlines() for command in line.partition("#")[0].split(";"))
    return any(words in (["flush", "ruleset"], ["flush", "ruleset", "ip"]) for words in commands)
