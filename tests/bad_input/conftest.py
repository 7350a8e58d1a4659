"""Fixtures for mistakes."""

from cli.tiny import bert_folder, gpt_folder, run

__all__ = ["bert_folder", "gpt_folder", "run"]
