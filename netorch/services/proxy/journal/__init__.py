"""The record of requests: a line of the access log for each, and counters of the lines."""
