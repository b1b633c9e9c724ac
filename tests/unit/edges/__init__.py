"""Tests of the objects on edges."""
