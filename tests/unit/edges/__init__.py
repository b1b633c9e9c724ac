"""Tests of what edges hold."""
