"""Tests of edges at work."""
