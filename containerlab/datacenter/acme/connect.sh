#!/bin/sh
# What acme's engineer does with what `netorch vpn config` has written, /run/acme/swanctl.conf and /run/acme/vpn.conf:
#   sh connect.sh KEY1 KEY2     the pre-shared keys of the tunnels
set -e
cd "$(dirname "$0")"

# The devices: the file says how they are made.
sed -n 's/^#     \(ip\|nft\|sysctl\) /\1 /p' /run/acme/swanctl.conf | sh -e

# The keys, what the VPC may reach here, and that a session which has ended is not waited for longer than 5 s.
sed -i "s|<pre-shared key of tunnel 1>|$1|; s|<pre-shared key of tunnel 2>|$2|" /run/acme/swanctl.conf
sed -i 's|192.168.0.0/16|10.44.0.0/16|; s|^  hold time|  error wait time 1, 5;\n  connect retry time 5;\n&|' /run/acme/vpn.conf

STRONGSWAN_CONF=strongswan.conf swanctl --load-all --noprompt --file /run/acme/swanctl.conf
bird -c bird.conf -s /run/acme/bird.ctl -P /run/acme/bird.pid
