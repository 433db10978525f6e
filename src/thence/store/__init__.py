"""Bytes at keys, somewhere. Nothing here knows what an artifact is."""
