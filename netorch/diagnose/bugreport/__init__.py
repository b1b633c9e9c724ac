"""A report for remote diagnosis: one file, without secrets."""
