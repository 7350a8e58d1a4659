"""Fixtures for mistakes."""

from bad_input.lab import lab, specimens
from cli.tiny import bert_folder, classifier_folder, gpt_folder, opinions, pair_folder, run

__all__ = [
    "bert_folder",
    "classifier_folder",
    "gpt_folder",
    "lab",
    "opinions",
    "pair_folder",
    "run",
    "specimens",
]
