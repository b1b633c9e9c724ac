"""Read-only diagnosis: drift of a kernel, reachability layer by layer."""
