"""What a customer may do about private networks elsewhere: virtual private gateways, customer gateways, VPN connections."""
