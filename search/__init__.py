"""What to try, and how trials run. The only package that knows Ray, Optuna and MLflow."""
