"""Parts of the edge benchmark: records, topologies, traffic and changes."""
