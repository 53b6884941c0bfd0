"""MLflow's view of a search. One file imports MLflow."""
