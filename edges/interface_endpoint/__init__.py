"""Interface endpoints: a service of another VPC at a local address, by connection tracking in a namespace.

The path of a packet from instance 10.0.1.5 to the endpoint 10.0.9.9, for the service 10.0.1.5:8443 of a VPC that may have the
same addresses. In the provider's VPC the connection has the address 10.0.8.20:

    hypervisor   10.0.9.9/32 via 192.0.2.21 dev vx5000               the edge that answers and is active, as for a NAT gateway
    vrf5000      10.0.9.9/32 dev v-001388...                         verified packets only
    vpce-con-... eth0: the endpoint's security groups; destination becomes 10.0.1.5:8443
                 all packets from eth0 leave by eth1, whatever their destination; source becomes 10.0.8.20
    v-001770...  in the VRF of the route table of the connection's subnet: 10.0.1.5/32 via 192.0.2.12 dev vx6000

and of the reply:

    hypervisor   10.0.8.20/32 via 192.0.2.21 dev vx6000
    vrf6000      10.0.8.20/32 dev v-001770...
    vpce-con-... eth1: a reply: source and destination are translated back; packets from eth1 leave by eth0
    v-001388...  10.0.1.5/32 via 192.0.2.11 dev vx5000

The namespace has none of their addresses and no routes to them: a packet's input device determines its output device. So
addresses of the two VPCs never conflict. Nor do they in connection tracking: the original direction of connections has its
own zone, in which packets from eth0 are looked up. So the provider's packets only match replies, and open no connections.
Linux also searches for a reply when a packet from eth0 belongs to no known original direction; such a packet is dropped. Of
consumers' packets only those to the service's ports pass, and only after the endpoint's groups.

With the PROXY protocol, a program relays between the two halves: connections to a TCP port of the service end in the
namespace, at 192.0.0.2, and the program opens other connections to the targets from there (docs/design/privatelink.md).
Health checks of targets come from there, too.

A connection's target follows from its own addresses and ports, so both edges choose the same. The other edge knows none of
the connections, and resets those of TCP (docs/design/privatelink.md).

Both ACLs are also applied here: that of the endpoint's subnet, and that of the connection's subnet in the provider's VPC.
"""
