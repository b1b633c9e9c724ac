#!/bin/sh
# What blue's engineer does with what `netorch vpn config` has written: /run/blue/swanctl.conf.
set -e
cd "$(dirname "$0")"

# The devices and routes: the file says how they are made.
sed -n 's/^#     \(ip\|nft\|sysctl\) /\1 /p' /run/blue/swanctl.conf | sh -e

# A route goes while its tunnel is down.
sed -i 's|^\( *\)start_action|\1updown = sh updown.sh\n&|' /run/blue/swanctl.conf

STRONGSWAN_CONF=strongswan.conf swanctl --load-all --noprompt --file /run/blue/swanctl.conf
