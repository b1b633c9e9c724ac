"""What all actions share: one transaction, quotas, free addresses, checks."""
