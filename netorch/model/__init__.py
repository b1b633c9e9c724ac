"""The customer's resources: frozen values with EC2's names and ids. No I/O, no clock, no randomness."""
