"""What a file declares of services."""
