"""netorch's own daemon: the services that instances use, one process on each host (`python -m netorch.services`).

netorch.drivers.services starts the process and sends it objects. Each kind of object has a handler
(netorch.services.table). Handlers do not know each other.
"""
