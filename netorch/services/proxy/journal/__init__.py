"""What is kept of requests: a line of the access log for each, and what lines add up to."""
