"""netorch: a VPC cloud on plain Linux hosts."""
