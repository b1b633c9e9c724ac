"""Direct Connect: the operator's ports of edges, and customers' VLANs on them."""
