"""Networks compared over folds: what each reached in each fold, and whether that can be told."""
