"""Tests of how an agent follows the store."""
