"""The store's records as values: keys, kinds, decoding, and listings at one revision."""
