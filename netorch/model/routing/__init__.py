"""Route tables: targets, permitted routes, and the routes in force. EC2's rules. Pure.

Source of every rule: Amazon VPC user guide, "Configure route tables" and "Route priority" (2023-06).
"""
