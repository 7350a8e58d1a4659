"""Fixtures for mistakes."""

from bad_input.lab import lab, specimens
from cli.tiny import bert_folder, gpt_folder, run

__all__ = ["bert_folder", "gpt_folder", "lab", "run", "specimens"]
