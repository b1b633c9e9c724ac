#!/bin/sh
# On a hypervisor: join by the token that the console leaves. What `netorch host join` prints are the settings of the agent.
set -eu
token=$NETORCH_LAB_DIR/$CLAB_LABEL_CLAB_NODE_NAME.token
settings=${NETORCH_CONFIG:-/etc/netorch/netorch.toml}
until [ -s "$token" ]; do sleep 0.2; done
mkdir -p "$(dirname "$settings")"
until netorch host join --token-file "$token" >"$settings.new"; do sleep 1; done # the enrolment service is still starting
mv "$settings.new" "$settings"
rm "$token"
