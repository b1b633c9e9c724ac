"""IAM's policy language, as far as it makes sense without identities, and what a request to S3 asks permission for."""
