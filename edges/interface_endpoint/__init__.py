"""Interface endpoints: a service of another VPC at an address of one's own, by connection tracking in a namespace.

The walk of a packet of instance 10.0.1.5 to the endpoint 10.0.9.9, behind which is the service 10.0.1.5:8443 of a VPC that may
have the same addresses. In the provider's VPC the connection has the address 10.0.8.20:

    hypervisor   10.0.9.9/32 via 192.0.2.21 dev vx5000               the edge that answers and is active, as for a NAT gateway
    vrf5000      10.0.9.9/32 dev v-001388...                         verified packets only
    vpce-con-... eth0: the endpoint's security groups; destination becomes 10.0.1.5:8443
                 what comes by eth0 leaves by eth1, whatever its destination; source becomes 10.0.8.20
    v-001770...  in the VRF of the route table of the connection's subnet: 10.0.1.5/32 via 192.0.2.12 dev vx6000

and of the answer:

    hypervisor   10.0.8.20/32 via 192.0.2.21 dev vx6000
    vrf6000      10.0.8.20/32 dev v-001770...
    vpce-con-... eth1: an answer: source and destination as they were; what comes by eth1 leaves by eth0
    v-001388...  10.0.1.5/32 via 192.0.2.11 dev vx5000

The namespace has no address of theirs and no route to one: the device that a packet comes by says where it goes. So addresses
of the two VPCs never meet. Nor do they in connection tracking: connections have their original direction in a zone of its own,
which what comes by eth0 is looked up in. So what the provider sends meets answers only, and begins nothing. Linux looks for an
answer, too, where eth0's packet is none of a known beginning; such a packet is dropped. Of what consumers send only the
service's ports pass, and only after the endpoint's groups.

With the PROXY protocol a program stands between the two halves: what comes for a TCP port of the service ends in the namespace,
at 192.0.0.2, and other connections lead from there to the targets (docs/design/privatelink.md). So do those that ask whether
targets answer.

Which target a connection gets follows from its own addresses and ports, so both edges choose alike. The other edge knows none
of the connections and resets those of TCP (docs/design/privatelink.md).

Both ACLs are judged here, too: that of the endpoint's subnet, and that of the connection's in the provider's VPC.
"""
