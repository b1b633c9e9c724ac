"""Policy: which addresses may send on a port, which host may send from an address, which traffic is permitted."""
