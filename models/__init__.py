"""Networks as plain ``torch.nn`` modules. Knows torch only."""
