"""Searches ready to launch."""
