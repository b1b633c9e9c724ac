#!/bin/sh
# What makes fw-1 a firewall: it forwards packets, and permits pings and tcp/8080. Run it in the instance:
#   netorch --lab routes instance exec shop/fw-1 -- sh containerlab/routes/fw-1.sh
set -e
sysctl -qw net.ipv4.ip_forward=1
for device in all eth0; do # packets leave where they came in
    sysctl -qw net.ipv4.conf.$device.rp_filter=0 net.ipv4.conf.$device.send_redirects=0
done
nft -f - <<'RULES'
table ip firewall
delete table ip firewall
table ip firewall {
    counter to-inner { }
    counter to-public { }
    chain forward {
        type filter hook forward priority filter; policy drop;
        ip daddr 10.70.2.0/24 counter name to-inner
        ip daddr 10.70.1.0/24 counter name to-public
        ct state established,related accept
        icmp type echo-request accept
        tcp dport 8080 ct state new accept
    }
}
RULES
