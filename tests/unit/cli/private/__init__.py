"""The commands for customers' private networks."""
