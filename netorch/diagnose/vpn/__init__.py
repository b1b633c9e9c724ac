"""Diagnosis of VPN connections that do not work."""
