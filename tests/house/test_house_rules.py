"""The house rules of CONTRIBUTING.md, applied to every file of the repository."""

import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

import vesalius
from house import checks

SOURCES = sorted(checks.PACKAGE.rglob("*.py"))
NAMES = [str(path.relative_to(checks.PACKAGE)) for path in SOURCES]

# Too long for a reason: "path" or "path: qualified function" -> the reason.
LONG: dict[str, str] = {}

# The rules and their tests have to spell what they forbid.
SPELLS_THE_FORBIDDEN = {"tests/house/checks.py", "tests/house/test_house_checks.py"}


@cache
def tracked() -> tuple[Path, ...]:
    """List the files of the repository, new ones included, or of the source archive."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=checks.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode == 0:
        paths = [checks.ROOT / name for name in listed.stdout.split("\0") if name]
    else:
        paths = [path for path in checks.ROOT.rglob("*") if ".venv" not in path.parts]
    return tuple(path for path in paths if path.is_file())


def text_of(path: Path) -> str | None:
    content = path.read_bytes()
    return None if b"\0" in content else content.decode("utf-8")


@pytest.mark.parametrize("path", SOURCES, ids=NAMES)
def test_package_file(path: Path):
    source, module = path.read_text("utf-8"), checks.module_name(path)
    is_package = path.name == "__init__.py"
    faults = checks.rung_faults(source, module=module, is_package=is_package)
    faults += checks.heavy_import_faults(source, module=module)
    faults += checks.docstring_faults(source)
    faults += checks.safety_faults(source)
    if is_package and path.parent != checks.PACKAGE:
        faults += checks.init_faults(source)
    assert not faults, "\n".join(faults)


def test_no_file_or_function_is_too_long():
    found: dict[str, str] = {}
    for path in tracked():
        if path.suffix == ".py":
            name = path.relative_to(checks.ROOT).as_posix()
            for fault in checks.length_faults(path.read_text("utf-8")):
                function, colon, _ = fault.partition(": ")
                found[f"{name}: {function}" if colon else name] = fault
    assert found.keys() <= LONG.keys(), {k: v for k, v in found.items() if k not in LONG}
    assert LONG.keys() <= found.keys(), "an exception is needed no more: remove it"
    assert all(LONG.values()), "an exception has a reason"


def test_no_file_names_a_machine_a_network_or_a_package_index():
    faults = [
        f"{name}:{fault}"
        for path in tracked()
        if (name := path.relative_to(checks.ROOT).as_posix()) not in SPELLS_THE_FORBIDDEN
        for fault in checks.place_faults(text_of(path) or "")
    ]
    assert not faults, "\n".join(faults)


def test_every_folder_has_a_rung():
    folders = {path.parent.name for path in checks.PACKAGE.glob("*/__init__.py")}
    assert folders <= checks.RUNGS.keys()


HEAVY = (
    "torch",
    "transformers",
    "numpy",
    "scipy",
    "sklearn",
    "pyarrow",
    "matplotlib",
    "plotly",
    "typer",
)


def loaded_after(statement: str, watched: tuple[str, ...]) -> set[str]:
    """Run a statement in a new interpreter and tell which of the modules it brought in."""
    code = f"import sys; {statement}; print(*set({watched}) & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_importing_vesalius_imports_nothing_heavy():
    assert loaded_after("import vesalius; dir(vesalius)", HEAVY) == set()
    assert loaded_after("import vesalius, numpy", HEAVY) == {"numpy"}  # the probe can fail


def test_core_never_imports_torch():
    modules = [checks.module_name(path) for path in SOURCES if path.parent.name == "core"]
    assert len(modules) > 5
    assert loaded_after(f"import {', '.join(modules)}", ("torch", "transformers")) == set()


def test_every_name_of_the_package_resolves():
    assert set(dir(vesalius)) == set(vesalius.__all__)
    for name in vesalius.__all__:
        assert getattr(vesalius, name) is not None
    with pytest.raises(AttributeError, match="telepathy"):
        vesalius.telepathy  # noqa: B018


def test_pins_cover_every_dependency_and_name_no_build():
    pins = [
        line
        for line in (checks.ROOT / "constraints.txt").read_text("utf-8").splitlines()
        if not line.startswith("#")
    ]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.]*", pin) for pin in pins)
    pinned = {plain_name(pin.partition("==")[0]) for pin in pins}
    assert len(pinned) == len(pins)
    project = tomllib.loads((checks.ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    named = {plain_name(re.split(r"[\[<>=;]", want)[0]) for group in groups for want in group}
    assert named - {"vesalius"} <= pinned
    assert "torch==2.13.0" in pins


def plain_name(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_settings_point_at_things_that_exist():
    """A linter that looks into a folder of another name finds no fault for ever."""
    tools = tomllib.loads((checks.ROOT / "pyproject.toml").read_text("utf-8"))["tool"]
    paths = [*tools["pyright"]["include"], *tools["pytest"]["ini_options"]["testpaths"]]
    for name in [*paths, *tools["ruff"]["src"], *tools["pytest"]["ini_options"]["pythonpath"]]:
        assert (checks.ROOT / name).is_dir(), name
    makefile = (checks.ROOT / "Makefile").read_text("utf-8")
    hooks = (checks.ROOT / ".pre-commit-config.yaml").read_text("utf-8")
    for target in re.findall(r"entry: make (\w+)", hooks):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    assert re.findall(r"entry: (.*)", hooks) == ["make lint", "make types"]
    assert re.search(r"^test: lint types$", makefile, re.MULTILINE)
    assert "make test" in (checks.ROOT / ".ci" / "run").read_text("utf-8")


def test_a_fault_in_shapes_is_caught_under_pytest():
    """The import hook of conftest.py is at work."""
    import jaxtyping
    import torch

    from vesalius.numerics.line_integral import integrate_line

    with pytest.raises(jaxtyping.TypeCheckError):
        integrate_line(lambda x: x.sum(-1), torch.ones(3), start=torch.ones(4))
