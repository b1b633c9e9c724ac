"""Plan endpoints, and their services and buckets, as declared."""
