"""Tasks: work of an agent besides keeping the kernel equal to the records."""
