"""Clips of a talking mouth: video frames beside coefficients of the sound, of several persons."""
