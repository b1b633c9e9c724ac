"""Traffic control in the overlay namespace."""
