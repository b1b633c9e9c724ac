"""Tests of running edges."""
