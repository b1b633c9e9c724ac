"""Instance metadata over HTTP, as EC2's version 2: with tokens. Pure except for the handler and its connections."""
