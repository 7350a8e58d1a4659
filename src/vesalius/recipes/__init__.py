"""Rung 4, what strings several methods together: the demo, the making of the zoo."""
