"""Links, addresses, routes, neighbours, FDB entries and rules, by route netlink."""
