"""Configuration texts for the customer's device of a VPN connection, and the parsers of AWS's configuration texts."""
