"""The one place that touches kernel and daemons."""
