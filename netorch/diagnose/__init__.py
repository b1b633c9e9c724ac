"""Looking without touching: drift of a kernel, reachability layer by layer."""
