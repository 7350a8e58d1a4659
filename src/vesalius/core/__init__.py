"""Rung 0, what everything else stands on: errors, results, cards, seeds. No torch in here."""
