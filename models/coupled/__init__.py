"""Networks made of streams that a placement couples at sites."""
