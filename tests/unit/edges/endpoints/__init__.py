"""Interface endpoints on edges in memory."""
