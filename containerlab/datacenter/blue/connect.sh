#!/bin/sh
# What blue's engineer does with what `netorch vpn config` has written, /run/blue/swanctl.conf:
#   sh connect.sh KEY1 KEY2     the pre-shared keys of the tunnels
set -e
cd "$(dirname "$0")"

# The devices and routes: the file says how they are made.
sed -n 's/^#     \(ip\|nft\|sysctl\) /\1 /p' /run/blue/swanctl.conf | sh -e

# The keys, and that a route goes while its tunnel is down.
sed -i "s|<pre-shared key of tunnel 1>|$1|; s|<pre-shared key of tunnel 2>|$2|" /run/blue/swanctl.conf
sed -i 's|^\( *\)start_action|\1updown = sh updown.sh\n&|' /run/blue/swanctl.conf

STRONGSWAN_CONF=strongswan.conf swanctl --load-all --noprompt --file /run/blue/swanctl.conf
