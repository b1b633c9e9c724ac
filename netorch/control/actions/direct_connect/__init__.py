"""Direct Connect: the operator's ports of edges, and the customers' VLANs on them."""
