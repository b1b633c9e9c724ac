"""What an agent does beside keeping the kernel as the records say."""
