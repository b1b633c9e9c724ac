"""What customers may do, what files declare, and what people see."""
