#!/bin/sh
# What acme's engineer does with what `netorch vpn config` has written: /run/acme/swanctl.conf, and /run/acme/vpn.conf for bird.
set -e
cd "$(dirname "$0")"

# The devices: the file says how they are made.
sed -n 's/^#     \(ip\|nft\|sysctl\) /\1 /p' /run/acme/swanctl.conf | sh -e

# What the VPC may reach here. And BFD, so that a dead tunnel is left within a second, not within 30.
sed -i 's|192.168.0.0/16|10.44.0.0/16|; s/^  hold time 30;/&\n  bfd on;/' /run/acme/vpn.conf

STRONGSWAN_CONF=strongswan.conf swanctl --load-all --noprompt --file /run/acme/swanctl.conf
birdc -s /run/acme/bird.ctl configure
