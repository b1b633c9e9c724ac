"""What an HTTP request to S3 asks for: which permissions, for which bucket and key."""
