"""The house rules as functions from source text to a list of faults; see CONTRIBUTING.md.

Each fault is one line, "where: what". The rules are kept simple on purpose: they read the syntax
tree, never the running program, and a rule that is too blunt for a place gets an exception with
a reason in the test that applies it.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGE: Final = ROOT / "src" / "vesalius"

RUNGS: Final = {
    "core": 0,
    "numerics": 1,
    "parallel": 1,
    "plots": 1,
    "models": 2,
    "data": 2,
    "training": 2,
    "methods": 3,
    "recipes": 4,
    "explorer": 5,
    "cli": 6,
}
_FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef
_ARRAY = re.compile(r"\b(Tensor|ndarray)\b")
_SHAPED = re.compile(r"\b[A-Z]\w+\[[\w.]*(Tensor|ndarray), ['\"]")  # Float[Tensor, "batch"]
_SHAPE = re.compile(r"\bshapes?\b|\[[^\]\n]+\]")
_SOURCE = re.compile(r"^\s*Sources?:", re.MULTILINE)
_RAISES = re.compile(r"^\s*Raises:", re.MULTILINE)

# Places of one machine, and addresses that an installation must take from its user's own settings.
_NAMED_PLACES: Final = {
    "a path of one machine": re.compile(
        r"(?<![\w.~-])/(work|root|home|Users|mnt|opt|srv|scratch|data\d*)/[\w.-]"
    ),
    "a folder outside the repository": re.compile(r"\.\./shared"),
    "an address of a package index": re.compile(
        r"pypi\.(org|python)|pythonhosted|download\.pytorch|registry\.npmjs|conda\.anaconda"
        r"|artifactory|(?<!-)-index-url|--find-links|\btrusted-host",
        re.IGNORECASE,
    ),
    "an address of a private network": re.compile(
        r"\b(10|192\.168|172\.(1[6-9]|2\d|3[01]))(\.\d{1,3}){2,3}\b|\.(internal|corp|lan)\b(?!\()"
    ),
}


def module_name(path: Path) -> str:
    """Name the module of a file under src, ``vesalius.core`` for its ``__init__.py``."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules(source: str, *, module: str, is_package: bool) -> Iterator[tuple[int, str]]:
    """Yield line and dotted name of every import, inside functions too, and by import_module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = module.split(".")[: len(module.split(".")) + is_package - node.level]
            prefix = ".".join([*(base if node.level else []), *filter(None, [node.module])])
            yield from ((node.lineno, f"{prefix}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called in ("import_module", "__import__"):
                yield node.lineno, str(node.args[0].value)


def rung_faults(source: str, *, module: str, is_package: bool = False) -> list[str]:
    """Find imports that point up or sideways; the package's own ``__init__`` hands names on."""
    here = module.split(".")
    if len(here) == 1 or here[1] == "__main__":
        return []
    faults: list[str] = []
    for line, target in imported_modules(source, module=module, is_package=is_package):
        there = target.split(".")
        if there[0] != "vesalius":
            continue
        where = f"{module}:{line}: imports {target}"
        folder = there[1] if len(there) > 1 else ""
        if folder not in RUNGS:
            faults.append(f"{where}, the top of the package")
        elif RUNGS[folder] > RUNGS[here[1]]:
            faults.append(f"{where}, which stands above {here[1]}")
        elif RUNGS[folder] == RUNGS[here[1]] and there[1:2] != here[1:2]:
            faults.append(f"{where}, a sibling of {here[1]}")
        elif folder == here[1] == "methods" and there[2:3] != here[2:3]:
            faults.append(f"{where}, another method")
    return faults


def heavy_import_faults(source: str, *, module: str) -> list[str]:
    """Find model libraries in the two lowest rungs, which have never heard of a model."""
    low = RUNGS.get([*module.split("."), ""][1], 9) <= 1
    names = imported_modules(source, module=module, is_package=False)
    heavy = ("transformers", "tokenizers", "accelerate")
    return [
        f"{module}:{line}: imports {name}"
        for line, name in names
        if low and name.split(".")[0] in heavy
    ]


def init_faults(source: str) -> list[str]:
    """Find anything in a folder's ``__init__.py`` that does more than hand names on."""
    hands_on = ast.Import | ast.ImportFrom | ast.If | ast.Assign | ast.AnnAssign
    return [
        f"{node.lineno}: {type(node).__name__} in an __init__.py"
        for node in ast.parse(source).body
        if not isinstance(node, hands_on)
        and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        and not (isinstance(node, _FUNCTION) and node.name in ("__getattr__", "__dir__"))
    ]


def functions(source: str) -> Iterator[tuple[str, _FUNCTION]]:
    """Yield qualified name and node of every function, nested ones too."""

    def walk(node: ast.AST, prefix: str) -> Iterator[tuple[str, _FUNCTION]]:
        for child in ast.iter_child_nodes(node):
            named = isinstance(child, _FUNCTION | ast.ClassDef)
            name = f"{prefix}{child.name}" if named else prefix
            if isinstance(child, _FUNCTION):
                yield name, child
            yield from walk(child, f"{name}." if named else prefix)

    return walk(ast.parse(source), "")


def length_faults(source: str, *, file_limit: int = 400, function_limit: int = 60) -> list[str]:
    """Find a file or functions with too many lines, docstring included."""
    num_lines = len(source.splitlines())
    faults = [f"{num_lines} lines in one file"] if num_lines > file_limit else []
    for name, node in functions(source):
        length = (node.end_lineno or node.lineno) - node.lineno + 1
        if length > function_limit:
            faults.append(f"{name}: {length} lines in one function")
    return faults


def docstring_faults(source: str) -> list[str]:
    """Find public functions and classes whose docstring leaves out what a user needs.

    Every one has a docstring of at most 25 lines. A function that takes or gives arrays says
    their shapes, in its annotations or in words; one that raises VesaliusError itself has a
    "Raises:" part; one at the top of a module has a "Source:", or its module's docstring has
    one that holds for all of them.
    """
    tree = ast.parse(source)
    module_has_source = bool(_SOURCE.search(ast.get_docstring(tree) or ""))
    return [
        f"{node.lineno}: {node.name}: {fault}"
        for node, is_top in _public(tree)
        for fault in _docstring_faults(node, needs_source=is_top and not module_has_source)
    ]


def _public(tree: ast.Module) -> Iterator[tuple[_FUNCTION | ast.ClassDef, bool]]:
    for node in tree.body:
        if isinstance(node, _FUNCTION | ast.ClassDef) and not node.name.startswith("_"):
            yield node, True
            for inner in node.body if isinstance(node, ast.ClassDef) else []:
                if isinstance(inner, _FUNCTION) and not inner.name.startswith("_"):
                    yield inner, False


def _docstring_faults(node: _FUNCTION | ast.ClassDef, *, needs_source: bool) -> Iterator[str]:
    if any("overload" in ast.unparse(decorator) for decorator in node.decorator_list):
        return
    text = ast.get_docstring(node)
    if not text:
        yield "no docstring"
        return
    if len(text.splitlines()) > 25:
        yield "docstring of more than 25 lines"
    if isinstance(node, ast.ClassDef):
        return
    if needs_source and not _SOURCE.search(text):
        yield "no 'Source:' here or in the module's docstring"
    if _has_unshaped_arrays(node) and not _SHAPE.search(text):
        yield "takes or gives arrays and nowhere says their shapes"
    if _raises_vesalius_error(node) and not _RAISES.search(text):
        yield "raises VesaliusError, and the docstring has no 'Raises:'"


def _has_unshaped_arrays(node: _FUNCTION) -> bool:
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    annotations = [node.returns, *(argument.annotation for argument in arguments)]
    texts = [ast.unparse(annotation) for annotation in annotations if annotation is not None]
    return any(map(_ARRAY.search, texts)) and not any(map(_SHAPED.search, texts))


def _raises_vesalius_error(node: _FUNCTION) -> bool:
    stack: list[ast.AST] = list(node.body)
    while stack:
        inner = stack.pop()
        if isinstance(inner, ast.Raise) and "VesaliusError" in ast.unparse(inner):
            return True
        if not isinstance(inner, _FUNCTION | ast.Lambda):
            stack += ast.iter_child_nodes(inner)
    return False


def safety_faults(source: str) -> list[str]:
    """Find ways to run a stranger's code from data, and habits that hide a mistake."""
    faults: list[str] = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names) if any(n.name.split(".")[0] in _PICKLES for n in names):
                faults.append(f"{node.lineno}: imports a pickle library")
            case ast.ImportFrom(module=str(name)) if name.split(".")[0] in _PICKLES:
                faults.append(f"{node.lineno}: imports a pickle library")
            case ast.ImportFrom(module="__future__", names=[ast.alias(name="annotations")]):
                faults.append(f"{node.lineno}: from __future__ import annotations")
            case ast.Attribute(value=ast.Name(id="torch"), attr="load" | "save"):
                faults.append(f"{node.lineno}: torch.{node.attr} uses pickle: use safetensors")
            case ast.keyword(arg="trust_remote_code" | "allow_pickle", value=value):
                if not (isinstance(value, ast.Constant) and value.value is False):
                    faults.append(f"{value.lineno}: {node.arg} is not False")
            case ast.Call(func=ast.Name(id="zip"), keywords=words):
                if len(node.args) > 1 and "strict=True" not in map(ast.unparse, words):
                    faults.append(f"{node.lineno}: zip without strict=True")
            case _:
                pass
    return faults


_PICKLES: Final = {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def place_faults(text: str) -> list[str]:
    """Find names of machines, of networks and of package indexes in any text."""
    return [
        f"{number}: {what}: {found[0]!r}"
        for number, line in enumerate(text.splitlines(), start=1)
        for what, pattern in _NAMED_PLACES.items()
        if (found := pattern.search(line))
    ]
