"""Trials on the machines of a cluster: all that knows Ray."""
