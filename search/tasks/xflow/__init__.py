"""XFlow's networks on clips of talking mouths."""
