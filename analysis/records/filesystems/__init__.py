"""What a storage stands on: filesystems, opened, written whole, waited for, and their errors."""
