"""charon's own settings, independent of its connections (strongswan.conf(5)).

Only the plugins needed by EC2-style tunnels are loaded. `kdf`, `hmac` and `sha2` derive keys; `openssl` has the ciphers, the
groups and the signatures; `pem`, `x509`, `pkcs1`, `pkcs8`, `pubkey` and `constraints` parse and verify certificates. None of
them queries an external server about revoked certificates.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

PLUGINS: Final = (
    "random nonce openssl sha2 hmac kdf pem x509 pkcs1 pkcs8 pubkey constraints kernel-netlink socket-default vici counters"
)

# A silent peer is given up after 1 + 1.5 + 2.25 + 3.375 s. Source: strongswan.conf(5), IKEv2 RETRANSMISSION.
RETRANSMIT_S: Final = 1.0
RETRANSMIT_BASE: Final = 1.5
RETRANSMIT_TRIES: Final = 3
GIVEN_UP_S: Final = sum(RETRANSMIT_S * RETRANSMIT_BASE**tries for tries in range(RETRANSMIT_TRIES + 1))

_LEAST_TABLE: Final = 1 << 12
_SEGMENTS: Final = 16


def settings(directory: Path, connections: int) -> str:
    """Return the text of the file for a charon with this number of connections.

    The size of the IKE_SA table is fixed when charon starts. A table that turns out too small only has longer chains;
    restarting charon would lose its SAs.
    """
    table = max(_LEAST_TABLE, 1 << (2 * connections).bit_length())
    return f"""# written by netorch
charon-systemd {{
  load = {PLUGINS}
  load_modular = no
  install_routes = no
  # Nor a rule that leads to a table of its own: it would be somebody else's in a namespace that is netorch's.
  routing_table = 0
  install_virtual_ip = no
  process_route = no
  make_before_break = yes
  follow_redirects = no
  cert_cache = no
  hash_and_url = no
  signature_authentication = yes
  retransmit_timeout = {RETRANSMIT_S}
  retransmit_base = {RETRANSMIT_BASE}
  retransmit_tries = {RETRANSMIT_TRIES}
  half_open_timeout = 30
  # Who has not shown that it receives at the address in its packets (RFC 7296 section 2.6) takes no room: from the fourth
  # half-open IKE_SA of an address on, and from the 30th of all. A NAT may have many customers behind it.
  cookie_threshold = 30
  cookie_threshold_ip = 3
  block_threshold = 64
  init_limit_half_open = 2000
  ikesa_table_size = {table}
  ikesa_table_segments = {_SEGMENTS}
  plugins {{
    vici {{
      socket = unix://{directory}/charon.vici
    }}
    kernel-netlink {{
      install_routes_xfrmi = no
    }}
  }}
  journal {{
    default = 1
    mgr = 0
    net = 0
    enc = 0
    job = 0
  }}
}}
"""
