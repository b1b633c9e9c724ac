"""What the store holds, as values: keys, kinds, decoding, and listings at one revision."""
