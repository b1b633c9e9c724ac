#!/bin/sh
# Start what acme's router runs: charon without a tunnel, bird without a session. connect.sh gives them more to do.
set -e
cd "$(dirname "$0")"
mkdir -p /run/acme
STRONGSWAN_CONF=strongswan.conf charon-systemd >/dev/null 2>&1 &
bird -c bird.conf -s /run/acme/bird.ctl -P /run/acme/bird.pid
