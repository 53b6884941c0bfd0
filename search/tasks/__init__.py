"""What is fused, on which data, judged how: the one seam to everything else."""
