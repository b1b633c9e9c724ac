"""The command line: `commands/` has one command per file, thin over control, agent and lab. Only this package prints."""
