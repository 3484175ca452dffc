"""Recipes on machines that others share: Ray, SLURM."""
