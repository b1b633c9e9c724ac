"""A store in one file of one machine, which is what a cloud begins with."""
