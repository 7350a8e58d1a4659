"""Every house check finds the fault it is there for, and lets a good example pass."""

import pytest

from house import checks


@pytest.mark.parametrize(
    ("module", "line", "fault"),
    [
        ("vesalius.core.a", "import vesalius.numerics.b", "above core"),
        ("vesalius.core.a", "from vesalius import numerics", "above core"),
        ("vesalius.core.a", "from vesalius import open", "top of the package"),
        ("vesalius.core.a", "import vesalius", "top of the package"),
        ("vesalius.core.a", "def f():\n    from vesalius.cli import main", "above core"),
        ("vesalius.core.a", "from ..models import open", "above core"),
        ("vesalius.core.a", "import_module('vesalius.cli')", "above core"),
        ("vesalius.core.a", "importlib.import_module('vesalius.cli')", "above core"),
        ("vesalius.models.a", "if x:\n    from vesalius.data.facts import y", "sibling of models"),
        ("vesalius.methods.electra.a", "from vesalius.methods.metalm import b", "another method"),
        ("vesalius.methods.electra.a", "from ..metalm.b import c", "another method"),
        ("vesalius.methods", "from vesalius.recipes import demo", "above methods"),
    ],
)
def test_imports_up_and_sideways_are_found(module: str, line: str, fault: str):
    (found,) = checks.rung_faults(line, module=module)
    assert fault in found


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("vesalius.models.a", "from vesalius.core.errors import VesaliusError"),
        ("vesalius.models.a", "from vesalius.models.parts import b"),
        ("vesalius.models.a", "from .parts import b"),
        ("vesalius.methods.electra.a", "from vesalius.methods.electra import b"),
        ("vesalius.cli.main", "from vesalius.methods import electra"),
        ("vesalius", "from vesalius.cli import main"),
        ("vesalius.core.a", "import numpy, vesalius_of_someone_else"),
    ],
)
def test_imports_down_and_within_pass(module: str, line: str):
    assert not checks.rung_faults(line, module=module)


def test_a_package_resolves_its_own_dot():
    assert checks.rung_faults("from .. import cli", module="vesalius.core", is_package=False) == []
    (fault,) = checks.rung_faults("from .. import cli", module="vesalius.core", is_package=True)
    assert "above core" in fault


def test_model_libraries_below_are_found():
    line = "def f():\n    from transformers import AutoModel"
    assert checks.heavy_import_faults(line, module="vesalius.numerics.a")
    assert not checks.heavy_import_faults(line, module="vesalius.models.a")


def test_an_init_that_computes_is_found():
    good = '"""Words."""\nfrom a import b\n__all__ = ["b"]\ndef __getattr__(name): ...'
    assert not checks.init_faults(good)
    assert checks.init_faults("def helper(): ...")
    assert checks.init_faults("for x in y: ...")
    assert checks.init_faults("print()")


def test_length_is_found():
    function = "def f():\n" + "    pass\n" * 60
    assert checks.length_faults(function) == ["f: 61 lines in one function"]
    assert not checks.length_faults("def f():\n" + "    pass\n" * 59)
    assert checks.length_faults("x = 1\n" * 401) == ["401 lines in one file"]
    nested = "class C:\n    def f(self):\n" + "        pass\n" * 60
    assert checks.length_faults(nested) == ["C.f: 61 lines in one function"]


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("def f(): ...", "no docstring"),
        ("class C: ...", "no docstring"),
        ('class C:\n  """Doc."""\n  def f(self): ...', "no docstring"),
        ('def f():\n  """Do it."""', "no 'Source:'"),
        ('def f(x: Tensor):\n  """Do it.\n\n  Source: ours.\n  """', "shapes"),
        ('def f() -> np.ndarray:\n  """Do it.\n\n  Source: ours.\n  """', "shapes"),
        (
            'def f():\n  """Do it.\n\n  Source: ours.\n  """\n  if 1:\n    raise VesaliusError()',
            "no 'Raises:'",
        ),
        ('class C:\n  """' + "line\n  " * 26 + '"""', "more than 25 lines"),
    ],
)
def test_poor_docstrings_are_found(source: str, fault: str):
    (found,) = checks.docstring_faults(source)
    assert fault in found


@pytest.mark.parametrize(
    "source",
    [
        "def _private(): ...",
        '"""Module.\n\nSource: ours.\n"""\ndef f():\n  """Do it."""',
        'def f(x: Tensor) -> Float[Tensor, "a"]:\n  """Do it.\n\n  Source: ours.\n  """',
        'def f(x: Tensor):\n  """Do it to [batch, head].\n\n  Source: ours.\n  """',
        'class C:\n  """Doc."""\n  def f(self):\n    """Do it."""\n  def __len__(self): ...',
        '"""Source: ours."""\n@overload\ndef f(x: Tensor): ...',
        '"""Source: ours."""\ndef f():\n  """Do."""\n  def g():\n    raise VesaliusError()',
        'def f():\n  """Do.\n\n  Raises:\n    X: y.\n\n  Source: z\n  """\n  raise VesaliusError',
    ],
)
def test_good_docstrings_pass(source: str):
    assert not checks.docstring_faults(source)


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "from __future__ import annotations",
        "torch.load(path)",
        "torch.save(x, path)",
        "f(trust_remote_code=True)",
        "f(trust_remote_code=flag)",
        "np.load(path, allow_pickle=True)",
        "zip(a, b)",
        "zip(a, b, strict=False)",
    ],
)
def test_unsafe_habits_are_found(source: str):
    assert len(checks.safety_faults(source)) == 1


@pytest.mark.parametrize(
    "source", ["zip(a, b, strict=True)", "zip(*rows)", "f(trust_remote_code=False)", "load(path)"]
)
def test_safe_habits_pass(source: str):
    assert not checks.safety_faults(source)


@pytest.mark.parametrize(
    "text",
    [
        "cd /ro" + "ot/.cache",
        "see '/ho" + "me/alice/x'",
        "--extra" + "-index-url x",
        "https://py" + "pi.org/simple",
        "http://10.1" + ".2.3:80",
        "mirror.inter" + "nal",
        "read ../sha" + "red/data",
    ],
)
def test_named_places_are_found(text: str):
    assert checks.place_faults(text)


@pytest.mark.parametrize(
    "text",
    ["https://arxiv.org/abs/2104.08696", "torch==2.13.0", "~/data", "rework/x", "tests/data/x"],
)
def test_public_places_pass(text: str):
    assert not checks.place_faults(text)
