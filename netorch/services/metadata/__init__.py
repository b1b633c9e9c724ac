"""Instance metadata by HTTP, as EC2's version 2: with tokens. Pure but for the handler and its connections."""
