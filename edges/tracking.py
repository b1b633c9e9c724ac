"""What the tables of all gateways have in common that track connections: a VPC that holds too many begins no more of them.

The agent decides who does (netorch.agent.tasks.allowance), and puts the zone of all the namespace's connections into the set. Its
elements expire, so that without an agent nobody is locked out. Only what begins a connection is looked up.
"""

from __future__ import annotations

from typing import Final

from netorch.state.nft import OVER_ALLOWANCE

ALLOWANCE_PARTS: Final = f"""
set {OVER_ALLOWANCE} {{
    typeof ct zone
    size 8
    timeout 10s
}}
counter allowance {{
}}
"""
# For a chain of the forward hook, in front of what accepts new connections.
ALLOWANCE_RULE: Final = f'ct state new ct zone @{OVER_ALLOWANCE} counter name "allowance" drop'
