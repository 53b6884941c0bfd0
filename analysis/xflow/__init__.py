"""XFlow's records beside the numbers and the claims of its paper."""
