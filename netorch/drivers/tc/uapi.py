"""The kernel's numbers of traffic control, by the names that its headers give them.

Source: linux/pkt_sched.h, pkt_cls.h, tc_act/tc_skbedit.h, tc_act/tc_mirred.h, if_ether.h.
"""

from __future__ import annotations


class TCMSG:
    """The head of a qdisc's or filter's message: family, device, handle, parent, pref and protocol."""

    SIZE = 20


class TC_H:
    """Handles: clsact as a handle and as a parent, and the parent of the filters at its ingress."""

    CLSACT_HANDLE, CLSACT, INGRESS, EGRESS = 0xFFFF0000, 0xFFFFFFF1, 0xFFFFFFF2, 0xFFFFFFF3


class TCA:
    """Attributes of a qdisc or filter."""

    KIND, OPTIONS, CHAIN = 1, 2, 11


class FLOWER:
    """TCA_FLOWER_: options of a flower filter. FLAGS and IN_HW_COUNT tell of offload to hardware."""

    ACT, KEY_ETH_DST, KEY_ETH_DST_MASK, FLAGS, IN_HW_COUNT = 3, 4, 5, 22, 86


class ACT:
    """TCA_ACT_: attributes of an action."""

    KIND, OPTIONS = 1, 2


class SKBEDIT:
    """TCA_SKBEDIT_: options of skbedit. TM and PAD say nothing of what it does."""

    TM, PARMS, MARK, PAD, PTYPE, MASK, FLAGS = 1, 2, 5, 6, 7, 8, 9


class MIRRED:
    """TCA_MIRRED_: options of mirred."""

    TM, PARMS, PAD = 1, 2, 3


TC_ACT_PIPE, TC_ACT_STOLEN = 3, 4
TCA_INGRESS_REDIR = 3
PACKET_HOST = 0
ETH_P_ALL = 0x0003
