"""A containerlab file to the nodes and links of a lab (`netorch.lab.topology`)."""
