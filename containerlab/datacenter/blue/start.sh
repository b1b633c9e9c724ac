#!/bin/sh
# Start charon and bird on blue's router; connect.sh gives charon tunnels.
set -e
cd "$(dirname "$0")"
mkdir -p /run/blue
STRONGSWAN_CONF=strongswan.conf charon-systemd >/dev/null 2>&1 &
echo $! >/run/blue/charon.pid
bird -c bird.conf -s /run/blue/bird.ctl -P /run/blue/bird.pid
