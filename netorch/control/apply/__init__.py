"""Plan a declared cloud against the stored one, and apply the plan."""
