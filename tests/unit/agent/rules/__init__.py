"""Rules that change in the kernel: with their tables, and after another program has altered them."""
