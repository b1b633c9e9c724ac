#!/bin/sh
# On the console, once the members have elected a leader: let etcd refuse whoever is no user, and start the enrolment service.
set -eu
state=${NETORCH_STATE_DIR:-/var/lib/netorch}
until netorch ca enable; do sleep 1; done
netorch ca serve --address 10.255.0.9:2390 --dir "$state/ca" >"$state/enrolment.log" 2>&1 &
