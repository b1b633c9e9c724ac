"""Packets' ways, without sending any: pure walks over the objects of hosts and the records of customers."""
