"""Colour beside depth: objects or faces seen from several sides, and a rendered stand-in."""
