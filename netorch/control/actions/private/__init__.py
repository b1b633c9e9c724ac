"""Customers' actions on private networks elsewhere: virtual private gateways, customer gateways, VPN connections."""
