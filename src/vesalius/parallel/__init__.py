"""Rung 1, long work: the memory planner, and sweeps that survive being killed."""
