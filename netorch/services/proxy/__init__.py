"""The proxy of gateway endpoints: passes requests from VPCs to S3, subject to policies."""
