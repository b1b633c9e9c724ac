"""One host's daemon: follows the store, compiles the records, and keeps the kernel equal to them."""
