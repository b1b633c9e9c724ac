"""What drivers of daemons have in common: the process of one, and the secrets that it is given."""
