#!/bin/sh
# charon runs this when a tunnel has come up, and when it has gone: so does the route to the VPC by it. Tunnel 1 is preferred.
device=$(printf 'vpn%x' "$PLUTO_IF_ID_OUT")
metric=$((100 + 100 * (PLUTO_IF_ID_OUT & 1)))
case $PLUTO_VERB in
up-client) ip route replace 10.0.0.0/16 dev "$device" metric $metric ;;
down-client) ip route del 10.0.0.0/16 dev "$device" metric $metric ;;
esac
