"""Names for people, written once: of networks, and of trials beside each other."""
