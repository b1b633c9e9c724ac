"""The permissions, bucket and key that an HTTP request to S3 needs."""
