"""A declared cloud against the stored one: the plan, and carrying it out."""
