"""Figures of searches over folds: intervals over them, and curves of training."""
