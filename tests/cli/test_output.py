"""What commands print for programs."""

import json
import math

import pytest

from vesalius.cli.output import emit_json, emit_table


def test_numbers_that_json_cannot_say_are_null(capsys: pytest.CaptureFixture[str]) -> None:
    emit_json({"a": [{"size": math.inf, "trials": ({"loss": math.nan},)}], "b": 1.5, "c": "nan"})

    def refuse(word: str) -> None:
        raise AssertionError(word)

    told = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert told == {"a": [{"size": None, "trials": [{"loss": None}]}], "b": 1.5, "c": "nan"}


def test_words_of_a_user_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    emit_table(("log P([/b])", "[red]"), [("[/i]", 1.5)], title="[/x]")
    assert capsys.readouterr().out.split() == ["[/x]", "log", "P([/b])", "[red]", "[/i]", "1.5"]
