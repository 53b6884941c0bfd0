"""What a task and a trained network do on single examples."""
