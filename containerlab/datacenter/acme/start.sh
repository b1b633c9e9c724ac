#!/bin/sh
# Start charon on acme's router; connect.sh gives it tunnels.
set -e
cd "$(dirname "$0")"
mkdir -p /run/acme
STRONGSWAN_CONF=strongswan.conf charon-systemd >/dev/null 2>&1 &
echo $! >/run/acme/charon.pid
