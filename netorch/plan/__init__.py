"""The plan: desired minus actual objects = ordered operations. Pure."""
