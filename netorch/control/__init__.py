"""What a customer may do, what a file declares, and what people are shown."""
