"""The parts of the benchmarks of one host: its cloud, and raw netlink."""
