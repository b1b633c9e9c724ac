"""An in-memory kernel that passes the same contract tests as the real one."""
