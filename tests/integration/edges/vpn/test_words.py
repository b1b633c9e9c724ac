"""charon knows each word in the proposals that EC2's options are translated to."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from netorch.model.outside.proposals import proposals
from netorch.model.outside.vpn import TunnelOptions
from tests.integration.edges.vpn.device import Device

pytestmark = pytest.mark.root

ALL = TunnelOptions()


def connection(name: str, version: str, options: TunnelOptions) -> str:
    """Return a connection of swanctl.conf with the proposals of these options."""
    ike = ", ".join(proposals(options, 1))
    return f"""{name} {{
  version = {version}
  {f"proposals = {ike}" if ike else ""}
  children {{ c {{ esp_proposals = {", ".join(proposals(options, 2))} }} }}
}}"""


def test_charon_takes_all_proposals(tmp_path: Path) -> None:
    wanted = {"all1": ("1", TunnelOptions(ike_versions=("ikev1",))), "all2": ("2", ALL)}
    for version, encryption, integrity, group in product(
        ("1", "2"), ALL.phase2_encryption, ALL.phase2_integrity, ALL.phase2_dh_groups
    ):
        wanted[f"c{version}-{encryption}-{integrity}-{group}"] = (
            version,
            TunnelOptions(
                ike_versions=(f"ikev{version}",),
                phase1_encryption=(encryption,),
                phase1_integrity=(integrity,),
                phase1_dh_groups=(group,),
                phase2_encryption=(encryption,),
                phase2_integrity=(integrity,),
                phase2_dh_groups=(group,),
            ),
        )
    device = Device("words", tmp_path / "words")
    try:
        device.start_charon()
        text = "\n".join(connection(name, version, options) for name, (version, options) in wanted.items())
        assert f"loaded {len(wanted)} connections" in device.load(f"connections {{\n{text}\n}}\n")
    finally:
        device.close()
