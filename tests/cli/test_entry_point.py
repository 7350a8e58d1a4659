"""The entry point: help, version, flags, exit codes, silence."""

import logging
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from cli.tiny import Run
from vesalius.cli import commands, main, progress
from vesalius.cli.quiet import quiet

FLAGS = Path(__file__).with_name("flags.txt")
HEAVY = ("torch", "transformers", "numpy", "matplotlib", "rich", "pyarrow", "scipy", "sklearn")


def every_command(command: Any, name: str = "vesalius") -> Iterator[tuple[str, Any]]:
    yield name, command
    for word, inner in getattr(command, "commands", {}).items():
        yield from every_command(inner, f"{name} {word}")


COMMANDS = dict(every_command(typer.main.get_command(main.app)))


def test_flags_are_frozen():
    """A flag is a promise: a change of this list is a change of the interface.

    To renew it, after a line in CHANGELOG.md: write what this test prints into flags.txt.
    """
    lines = [
        f"{name}: {' '.join(sorted(flag for p in command.params for flag in p.opts))}"
        for name, command in COMMANDS.items()
    ]
    assert "\n".join(lines) + "\n" == FLAGS.read_text("utf-8")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_has_an_example_and_every_flag_a_line(name: str, run: Run):
    ran = run(*name.split()[1:], "--help")
    assert (ran.code, ran.err) == (0, "")
    assert f"Example: {name}" in ran.out
    for parameter in COMMANDS[name].params:
        assert parameter.help, parameter.name


def test_every_command_is_short():
    import ast

    source = Path(commands.__file__).read_text("utf-8")
    for name in ("neurons.py", "attention.py", "calibrate.py", "landscape.py"):
        source += Path(commands.__file__).with_name(name).read_text("utf-8")
    found = [
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef) and "takes" in ast.unparse(node.decorator_list)
    ]
    assert len(found) >= 13 + 7 + 7 + 8
    assert all((node.end_lineno or 0) - node.lineno < 30 for node in found)


def test_version(run: Run):
    assert run("--version").out.startswith("vesalius ")


def test_no_words_show_the_help_and_are_wrong_usage(run: Run):
    ran = run()
    assert ran.code == 2
    assert "Usage: vesalius" in ran.out + ran.err


@pytest.mark.parametrize("words", [["chekc"], ["check"], ["check", "m", "--no-such-flag"],
                                   ["neurons", "locate", "--nodes", "many"]])  # fmt: skip
def test_wrong_usage_is_2_on_stderr(run: Run, words: list[str]):
    ran = run(*words)
    assert (ran.code, ran.out) == (2, "")
    assert "Error: " in ran.err
    assert "Traceback" not in ran.err


def test_a_fault_of_ours_is_named_and_traced_with_debug(run: Run, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise ZeroDivisionError("of ours")

    monkeypatch.setattr("vesalius.models.zoo.names", fail)
    ran = run("models")
    assert ran.code == 1
    assert "ZeroDivisionError: of ours" in ran.err
    assert "--debug" in ran.err
    assert "Traceback" not in ran.err
    with pytest.raises(ZeroDivisionError):
        run("models", "--debug")


def test_an_interruption_is_130_with_a_line(run: Run, monkeypatch: pytest.MonkeyPatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("vesalius.models.zoo.names", interrupt)
    ran = run("models")
    assert (ran.code, ran.out) == (130, "")
    assert "interrupted" in ran.err


def test_warnings_of_others_are_held_back_and_ours_are_not():
    with warnings.catch_warnings(record=True) as seen, quiet(debug=False):
        warnings.warn_explicit("theirs", UserWarning, "file.py", 1, module="transformers.models")
        warnings.warn_explicit("ours", UserWarning, "file.py", 1, module="vesalius.models")
    assert [str(each.message) for each in seen] == ["ours"]
    with warnings.catch_warnings(record=True) as seen, quiet(debug=True):
        warnings.simplefilter("always")
        warnings.warn_explicit("theirs", UserWarning, "file.py", 1, module="transformers.models")
    assert [str(each.message) for each in seen] == ["theirs"]


def test_loading_is_quiet_and_leaves_the_settings_as_they_were(run: Run, bert_folder: Path):
    before = logging.getLogger("transformers").level
    assert run("check", bert_folder).err == ""
    assert logging.getLogger("transformers").level == before


def test_a_reader_who_has_seen_enough_is_no_failure():
    code = (
        "import os, sys; reader, writer = os.pipe(); os.close(reader); os.dup2(writer, 1)\n"
        "from vesalius.cli.main import main; code = main(['cite']); sys.exit(code)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_help_is_quick_and_loads_nothing_heavy():
    """The installed command, by processor time: what other processes do must not count."""
    script = Path(sys.executable).with_name("vesalius")
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        ran = subprocess.run([script, "--help"], capture_output=True, text=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    assert "Usage: vesalius" in ran.stdout
    assert min(seconds) < 0.4
    code = (
        "import sys\nfrom vesalius.cli.main import main\n"
        "code = main(['--help']) + main(['attention', 'prune', '--help'])\n"
        "code += main(['calibrate', 'compare', '--help'])\n"
        "code += main(['landscape', 'surface', '--help'])\n"
        f"print(code, *set({HEAVY}) & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "0"


@pytest.mark.parametrize("total", [None, 1, 3])
def test_a_bar_shows_what_takes_long_and_nothing_else(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, total: int | None
):
    with progress.working("quick", total=total) as step:
        step()
    assert capfd.readouterr().err == ""
    monkeypatch.setattr(progress, "PATIENCE_SECONDS", 0.01)
    monkeypatch.setattr(progress, "_IN_A_LOG_SECONDS", 0.01)
    with progress.working("slow", total=total) as step:
        time.sleep(0.1)
        step()
    shown = capfd.readouterr()
    assert "slow" in shown.err
    assert shown.out == ""
