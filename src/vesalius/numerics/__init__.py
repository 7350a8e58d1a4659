"""Rung 1, numbers in, numbers out: quadrature, line integrals, statistics, metrics. No models."""
