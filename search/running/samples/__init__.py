"""The samples of a search over a space: asked for, under way, ended, and what is learnt of them."""
