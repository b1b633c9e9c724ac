"""The kernel's traffic control constants, under the names in its headers.

Source: linux/pkt_sched.h, pkt_cls.h, gen_stats.h, if_ether.h, tc_act/tc_{gact,mirred,nat,skbedit}.h, tc_ematch/tc_em_meta.h.
"""

from __future__ import annotations


class TCMSG:
    """The header of a qdisc or filter message: family, device, handle, parent, pref and protocol."""

    SIZE = 20


class TC_H:
    """Handles: clsact as a handle and as a parent, and the parents of filters at its ingress and egress."""

    CLSACT_HANDLE, CLSACT, INGRESS, EGRESS = 0xFFFF0000, 0xFFFFFFF1, 0xFFFFFFF2, 0xFFFFFFF3


class TCA:
    """Attributes of a qdisc or filter."""

    KIND, OPTIONS, CHAIN = 1, 2, 11


class FLOWER:
    """TCA_FLOWER_: options of a flower filter. FLAGS and IN_HW_COUNT are about hardware offload."""

    ACT, KEY_ETH_DST, KEY_ETH_DST_MASK, KEY_ETH_TYPE, KEY_IP_PROTO = 3, 4, 5, 8, 9
    KEY_IPV4_SRC, KEY_IPV4_SRC_MASK, KEY_IPV4_DST, KEY_IPV4_DST_MASK = 10, 11, 12, 13
    KEY_IPV6_SRC, KEY_IPV6_SRC_MASK, KEY_IPV6_DST, KEY_IPV6_DST_MASK = 14, 15, 16, 17
    FLAGS, IN_HW_COUNT = 22, 86


class BASIC:
    """TCA_BASIC_: options of a basic filter. PCNT counts packets."""

    EMATCHES, ACT, PCNT, PAD = 2, 3, 5, 6


class EMATCH:
    """TCA_EMATCH_TREE_: an expression of extended matches; the kind (TCF_EM_META) and flags of each match."""

    HDR, LIST = 1, 2
    META = 4
    INVERT = 4


class META:
    """TCA_EM_META_: a comparison of two values: the kinds of values (TCF_META_TYPE_INT, shifted) and the operator."""

    HDR, RVALUE = 1, 3
    VALUE, PRIORITY = 1 << 12, 1 << 12 | 6
    EQ = 0


class ACT:
    """TCA_ACT_: attributes of an action."""

    KIND, OPTIONS, STATS = 1, 2, 4


class STATS:
    """TCA_STATS_: counters. PKT64 is present if the packets in BASIC exceed 32 bits."""

    BASIC, PKT64 = 1, 8


class SKBEDIT:
    """TCA_SKBEDIT_: options of skbedit. TM and PAD do not affect what it does."""

    TM, PARMS, MARK, PAD, PTYPE, MASK = 1, 2, 5, 6, 7, 8


class MIRRED:
    """TCA_MIRRED_: options of mirred."""

    TM, PARMS, PAD = 1, 2, 3


class GACT:
    """TCA_GACT_: options of gact."""

    TM, PARMS, PAD = 1, 2, 4


class NAT:
    """TCA_NAT_: options of nat, and the flag (TCA_NAT_FLAG_EGRESS) for translation of the source address."""

    PARMS, TM, PAD = 1, 2, 3
    EGRESS = 1


TC_ACT_OK, TC_ACT_SHOT, TC_ACT_PIPE, TC_ACT_STOLEN = 0, 2, 3, 4
TCA_EGRESS_REDIR, TCA_INGRESS_REDIR = 1, 3
PACKET_HOST = 0
ETH_P_ALL, ETH_P_IP, ETH_P_IPV6 = 0x0003, 0x0800, 0x86DD
ETH_P_8021Q, ETH_P_8021AD = 0x8100, 0x88A8
