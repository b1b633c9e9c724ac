"""The command line: one command per file, thin over control, agent and lab. Only this package prints."""
