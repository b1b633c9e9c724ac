"""What one host holds, as values: the vocabulary between compilers, plan and drivers."""
