"""Policy: which addresses may send on a port, which host may send as an address, which traffic is permitted."""
