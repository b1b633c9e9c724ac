"""A store in one file of one machine: the initial back end of a cloud."""
