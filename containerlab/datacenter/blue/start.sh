#!/bin/sh
# Start what blue's router runs: charon without a tunnel. connect.sh gives it more to do.
set -e
cd "$(dirname "$0")"
mkdir -p /run/blue
STRONGSWAN_CONF=strongswan.conf charon-systemd >/dev/null 2>&1 &
