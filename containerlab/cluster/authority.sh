#!/bin/sh
# On the console, first: make the cloud's authority, the operator alice, and a certificate for each member of etcd.
set -eu
shared=$NETORCH_LAB_DIR
state=${NETORCH_STATE_DIR:-/var/lib/netorch}
settings=${NETORCH_CONFIG:-/etc/netorch/netorch.toml}
mkdir -p "$(dirname "$settings")" "$state"
netorch ca create alice --dir "$state/ca" --out "$state/alice"
cp "$state/ca/ca.pem" "$shared/ca.pem"
for member in etcd1=10.255.0.1 etcd2=10.255.0.2 etcd3=10.255.0.3; do
    netorch ca member "${member#*=}" --dir "$state/ca" --out "$shared/${member%=*}.pem"
done
own=$state/alice/own.pem
cat >"$settings" <<SETTINGS
store = "etcd://10.255.0.1,10.255.0.2,10.255.0.3/cloud?ca=$state/alice/ca.pem&cert=$own&key=$own"
SETTINGS
