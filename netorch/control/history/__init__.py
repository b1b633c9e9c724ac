"""Who changed what and when, from the store's history."""
