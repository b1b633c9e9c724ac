"""netorch: a VPC cloud on plain Linux hosts."""

__version__ = "0.1.0"
