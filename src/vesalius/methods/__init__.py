"""Rung 3, one folder per published method; siblings never import each other."""
