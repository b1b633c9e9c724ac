"""IAM's policy language without identities, and the permissions that a request to S3 needs."""
