"""Why does a VPN connection not carry what it is to carry?"""
