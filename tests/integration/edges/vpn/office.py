"""One VPC connected to one office, whose device makes mistakes: the sites' rig, with changes of the printed configuration."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from netorch.diagnose.vpn.facts import facts_of
from netorch.diagnose.vpn.findings import Finding, diagnose
from netorch.model.outside.vpn import TunnelOptions, VpnConnection
from netorch.model.vpc import RouteTable
from netorch.records import keys
from netorch.spec.vpn_config.bgp import bird_conf
from netorch.spec.vpn_config.swanctl import COMMAND, swanctl_conf
from tests.integration.edges.vpn.sites import PSKS, Private, Site, vpn_gateway_of
from tests.rig.outskirts import Outskirts
from tests.rig.world import wait_for

CLOUD: Final = """
vpcs:
- name: a
  cidrs: [10.0.0.0/16]
  subnets: [{name: app, cidr: 10.0.1.0/24}]
  security_groups: [{name: open, ingress: [{protocol: all, source: 0.0.0.0/0}]}]
  instances:
  - {name: one, host: hv1, address: 10.0.1.5, security_groups: [open]}
"""
OPTIONS: Final = TunnelOptions(dpd_timeout=3)
PATIENCE_S: Final = 240.0
Change = Callable[[str], str]  # a change of the printed configuration


def same(text: str) -> str:
    """Return the printed configuration unchanged."""
    return text


class Office:
    """The cloud, and the device in the office."""

    def __init__(self, outskirts: Outskirts, directory: Path) -> None:
        self.world = outskirts.world
        self.world.start_agents()
        self.world.apply(CLOUD)
        self.private = Private(outskirts)
        self.private.seat("a")
        self.site = Site(outskirts, "a", 81, directory)
        self.facts = self.private.connect("a", self.site, static=False, options=OPTIONS)
        self.connection = self.facts.connection
        text = swanctl_conf(self.facts, PSKS)
        lines = [line.removeprefix(COMMAND) for line in text.splitlines() if line.startswith(COMMAND)]
        end = lines.index("}") + 1
        self._settings = "\n".join(lines[:end])
        self.site.device.shell("\n".join(lines[end:]))

    def start(self, ike: Change = same, bgp: Change | None = same) -> None:
        """Restart the device's daemons with the configuration printed for the original connection, changed by a function."""
        self.stop()
        self.site.device.start_charon(self._settings)
        self.site.device.load(ike(swanctl_conf(self.facts, PSKS)))
        if bgp is not None:
            self.site.device.start_bird(bgp(bird_conf(self.facts, PSKS).replace("192.168.0.0/16", "10.44.0.0/16")))

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Stop the device's daemons; the edges are told unless the daemons are killed."""
        self.site.device.stop_bird()
        self.site.device.stop_charon(number)

    def change(self, connection: VpnConnection) -> None:
        """Replace the connection, without telling the device."""
        self.private.put(keys.resource(connection.id), connection)
        self.connection = connection
        self.world.settle()

    def findings(self) -> list[Finding]:
        """Return the findings of `netorch vpn doctor`."""
        return diagnose(facts_of(self.world.store, self.connection))

    def wait_for(self, *words: str) -> list[Finding]:
        """Wait until exactly these words are found, and return the sentences."""
        said: list[list[Finding]] = [[]]

        def agrees() -> bool:
            said[0] = self.findings()
            return {finding.word for finding in said[0]} == set(words)

        try:
            wait_for(agrees, f"{words}", PATIENCE_S)
        except AssertionError as error:
            raise AssertionError(f"{error}; said is {said[0]}; the device: {self.site.device.log()[-3000:]}") from error
        return said[0]

    def propagate(self, *gateways: str) -> None:
        """Let the main route table learn the routes of these gateways."""
        table = self.world.vpc("a").main_table()
        assert isinstance(table, RouteTable)
        self.private.put(keys.resource(table.id), msgspec.structs.replace(table, propagating=gateways))

    @property
    def gateway(self) -> str:
        """Return the id of the VPC's gateway."""
        return vpn_gateway_of(self.facts.connection.vni)
