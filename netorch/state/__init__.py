"""The objects of one host as values: the vocabulary shared by compilers, plan and drivers."""
