"""Rung 2, prompts, facts, templates and corpora. Takes a tokenizer, never loads a model."""
