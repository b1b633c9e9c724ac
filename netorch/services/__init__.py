"""netorch's own daemon: the programs that serve instances, one process for each host (`python -m netorch.services`).

netorch.drivers.services starts it and tells it objects. A handler has each kind of object (netorch.services.table); handlers know
nothing of each other.
"""
