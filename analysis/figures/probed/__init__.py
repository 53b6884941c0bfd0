"""Figures of what a probe kept of a trained network: vectors by class, changes over time, maps."""
