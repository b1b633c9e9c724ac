"""Route tables: what a route may lead to, which routes may be made, which of them is in force. EC2's rules, pure.

Source of every rule: Amazon VPC user guide, "Configure route tables" and "Route priority" (2023-06).
"""
