"""Rung 1, arrays in, matplotlib Axes out. No models."""
