"""What somebody needs who looks for a fault from afar: one file, without secrets."""
