"""Calibration of few-shot classification."""
