"""Code that all actions share: transactions, quotas, free addresses, checks."""
