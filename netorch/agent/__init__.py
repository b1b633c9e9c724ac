"""One host's daemon: follows the store, compiles, and keeps the kernel as the records say."""
