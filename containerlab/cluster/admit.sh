#!/bin/sh
# On the console: create a host, and leave a token for it where it finds it: sh admit.sh HOST UNDERLAY
#
# On real hosts: netorch host token HOST | ssh root@HOST 'netorch host join >>/etc/netorch/netorch.toml'
set -eu
netorch host create "$1" --underlay "$2"
until netorch host token "$1" --file "$NETORCH_LAB_DIR/$1.token"; do sleep 1; done # the enrolment service is still starting
