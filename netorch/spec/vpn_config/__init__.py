"""What a customer's device is to be told of a VPN connection, as text, and what such a text of AWS's says."""
