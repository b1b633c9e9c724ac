"""Code that planners share: quotas, VNIs and addresses, key files, the order of deletions."""
