"""A hand-made edge for one VPC with one tunnel: VXLAN, an xfrm interface, swanctl.conf, and rules for senders.

Everything may be in one namespace. Or the uplink and charon have a separate one, from which the xfrm interface is moved, so that
the addresses of the VPC and the site cannot be mistaken for others, and a second VPC would be possible.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Final

from datapath_vm.topologies import ip, load_in, run
from edge_parts import hand
from edge_parts.records import FIRST_VNI
from edge_parts.wires import EDGE, UPLINK

from netorch.model.routing.next_hop import gateway_mac
from tunnel_parts.records import PSK, SITE, private_gateway_of

CHARON: Final = "/usr/sbin/charon-systemd"
START_S: Final = 10.0
_IF_ID: Final = 42
_PLUGINS: Final = "random nonce openssl sha1 sha2 hmac kdf pem x509 pubkey kernel-netlink socket-default vici"
_SETTINGS: Final = """
charon-systemd {
  load = %s
  install_routes = no
  plugins { vici { socket = unix://%s } }
}
"""
_SWANCTL: Final = f"""
connections {{
  office {{
    version = 2
    local_addrs = {UPLINK.address.partition("/")[0]}
    remote_addrs = {UPLINK.gateway}
    proposals = aes128gcm16-prfsha256-ecp256
    local {{
      auth = psk
      id = {UPLINK.address.partition("/")[0]}
    }}
    remote {{
      auth = psk
      id = {UPLINK.gateway}
    }}
    children {{
      net {{
        local_ts = 0.0.0.0/0
        remote_ts = 0.0.0.0/0
        if_id_in = {_IF_ID}
        if_id_out = {_IF_ID}
        esp_proposals = aes128gcm16-ecp256
        replay_window = 1024
      }}
    }}
  }}
}}
secrets {{
  ike-office {{
    id = {UPLINK.gateway}
    secret = "{PSK}"
  }}
}}
"""
_RULES: Final = f"""
table inet site {{
    chain forward {{
        type filter hook forward priority 0; policy drop;
        iifname "vx0" oifname "site0" accept
        iifname "site0" oifname "vx0" ip saddr {SITE} accept
    }}
}}
"""


def build(directory: Path, outside: str) -> subprocess.Popen[bytes]:
    """Build the edge, with the uplink in the namespace `outside`; return its charon, which waits for the device to initiate."""
    hand.begin(FIRST_VNI)
    if outside != EDGE:
        run("ip", "netns", "add", outside)
        ip(EDGE, f"link set out0 netns {outside}")
    ip(
        outside,
        "link set lo up",
        f"addr add {UPLINK.address} dev out0",
        "link set out0 addrgenmode none up",
        f"link add site0 mtu 1446 type xfrm if_id {_IF_ID}",
        *([f"link set site0 netns {EDGE}"] if outside != EDGE else []),
    )
    ip(
        EDGE,
        f"link set vx0 address {gateway_mac(private_gateway_of(FIRST_VNI))} addrgenmode none",
        "link set vx0 up",
        "link set site0 addrgenmode none up",
        f"route add {SITE} dev site0",
    )
    hand.mapping(EDGE)
    hand.forwarding(EDGE)
    load_in(EDGE, _RULES)
    directory.mkdir()
    socket, conf = directory / "vici", directory / "strongswan.conf"
    conf.write_text(_SETTINGS % (_PLUGINS, socket))
    (directory / "swanctl.conf").write_text(_SWANCTL)
    nothing = subprocess.DEVNULL
    charon = subprocess.Popen(
        ["ip", "netns", "exec", outside, CHARON],
        stdin=nothing,
        stdout=nothing,
        stderr=nothing,
        env=os.environ | {"STRONGSWAN_CONF": str(conf)},
    )
    deadline = time.monotonic() + START_S
    while not socket.exists():
        if time.monotonic() > deadline:
            raise RuntimeError("tunnels: charon by hand does not start")
        time.sleep(0.05)
    run("swanctl", "--load-all", "--file", str(directory / "swanctl.conf"), "--uri", f"unix://{socket}")
    return charon
