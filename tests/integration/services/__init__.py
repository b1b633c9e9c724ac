"""What instances ask their own host."""
