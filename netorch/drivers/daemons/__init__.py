"""What drivers of daemons have in common: the process of one, the connection to it, and the secrets that it is given."""
