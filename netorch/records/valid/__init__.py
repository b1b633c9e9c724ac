"""Whether stored records make sense."""
