"""The proxy of gateway endpoints: S3 from VPCs, judged by policies."""
