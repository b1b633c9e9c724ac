"""Policy: who may speak on a port, and which host may speak for whom."""
