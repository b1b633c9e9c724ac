"""What a customer asks for: frozen values with EC2's names and ids; no I/O, no clock, no randomness."""
