"""Flow logs of one host: traffic is observed, aggregated by interval, and written as lines."""
