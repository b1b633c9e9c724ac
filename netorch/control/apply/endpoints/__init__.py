"""What makes endpoints, and what they lead to, as declared."""
