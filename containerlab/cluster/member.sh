#!/bin/sh
# Start this node's member of etcd in the background, for the first time or again: sh member.sh ADDRESS
#
# It waits for its certificate, which the console makes. A lab may be a slow machine, so members wait 5 s before they elect another
# leader. --experimental-watch-progress-notify-interval is for Debian's etcd only, which is too old for progress requests
# (docs/design/store.md): leave it out elsewhere. Each member then sends a message for each watch of each agent, so in
# the lab kernel, where a system call takes 100 us, every 500 ms would keep its CPU busy.
set -eu
name=$CLAB_LABEL_CLAB_NODE_NAME
shared=$NETORCH_LAB_DIR
state=${NETORCH_STATE_DIR:-/var/lib/netorch}
mkdir -p "$state"
{
    until [ -s "$shared/$name.pem" ]; do sleep 0.2; done
    exec etcd --name "$name" --data-dir "$state/etcd" \
        --initial-cluster etcd1=https://10.255.0.1:2380,etcd2=https://10.255.0.2:2380,etcd3=https://10.255.0.3:2380 \
        --listen-peer-urls "https://$1:2380" --initial-advertise-peer-urls "https://$1:2380" \
        --listen-client-urls "https://$1:2379" --advertise-client-urls "https://$1:2379" \
        --client-cert-auth --trusted-ca-file "$shared/ca.pem" \
        --cert-file "$shared/$name.pem" --key-file "$shared/$name.pem" \
        --peer-client-cert-auth --peer-trusted-ca-file "$shared/ca.pem" \
        --peer-cert-file "$shared/$name.pem" --peer-key-file "$shared/$name.pem" \
        --peer-cert-allowed-hostname member.netorch.invalid \
        --enable-grpc-gateway=false --heartbeat-interval 500 --election-timeout 5000 \
        --auto-compaction-mode periodic --auto-compaction-retention 1h \
        --experimental-watch-progress-notify-interval 2s
} >>"$state/etcd.log" 2>&1 &
