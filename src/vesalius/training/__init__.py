"""Rung 2, one training loop: schedule, checkpoint, exact resume."""
