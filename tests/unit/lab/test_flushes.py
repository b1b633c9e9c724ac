"""doctor warns of a service that flushes all tables, and of no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from netorch.lab.flushes import flush_warnings


@pytest.mark.parametrize(
    ("enabled", "config", "warned"),
    [
        (True, "#!/usr/sbin/nft -f\n\nflush ruleset\n\ntable inet filter {\n}\n", True),
        (True, "flush ruleset; table inet filter { }\n", True),
        (True, "# flush ruleset\ntable inet filter {\n}\n", False),
        (True, "flush ruleset inet\n", False),
        (True, "flush ruleset ip\n", True),
        (False, "flush ruleset\n", False),
    ],
    ids=["Debian's own", "in one line", "commented out", "of another family", "of our family", "not enabled"],
)
def test_a_service_that_flushes_the_ruleset_is_warned_of(tmp_path: Path, enabled: bool, config: str, warned: bool) -> None:
    wants = tmp_path / "etc/systemd/system/sysinit.target.wants"
    wants.mkdir(parents=True)
    if enabled:
        (wants / "nftables.service").symlink_to("/lib/systemd/system/nftables.service")
    (tmp_path / "etc/nftables.conf").write_text(config)
    assert bool(list(flush_warnings(tmp_path))) is warned


def test_a_machine_without_the_service_is_not_warned(tmp_path: Path) -> None:
    assert list(flush_warnings(tmp_path)) == []
