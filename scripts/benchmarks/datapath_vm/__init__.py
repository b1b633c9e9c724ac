"""Parts of the data-path benchmark: topologies and traffic."""
