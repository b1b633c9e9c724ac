"""Services that instances get from their own host."""
