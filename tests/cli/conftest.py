"""Fixtures for the commands."""

from cli.tiny import bert_folder, classifier_folder, gpt_folder, opinions, pair_folder, run

__all__ = ["bert_folder", "classifier_folder", "gpt_folder", "opinions", "pair_folder", "run"]
