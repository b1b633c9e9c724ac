"""Packets that netorch itself sends, to find out what arrives."""
