"""Traffic control in netorch's namespaces."""
