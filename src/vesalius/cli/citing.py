"""What the words after `vesalius cite` mean: folders of results, or names of methods.

Source: ``vesalius.core.cite``.
"""

import json
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Final, cast

from vesalius.core.errors import VesaliusError
from vesalius.core.result import MARKER, AbstractResult, load_result

# the words of the command line for methods whose folder has another name
ALIASES: Final = {"neurons": "knowledge_neurons"}
RECIPES: Final = {"electra.pretraining": "vesalius.recipes.pretrain_result"}
_METHODS: Final = Path(__file__).parents[1] / "methods"


def subjects_of(words: Sequence[str]) -> list[str | AbstractResult]:
    """Read every result in the folders, and pass names on."""
    subjects: list[str | AbstractResult] = []
    for word in words:
        if Path(word).is_dir():
            subjects += _results_in(Path(word))
        else:
            subjects.append(ALIASES.get(word, word))
    return subjects


def _results_in(folder: Path) -> list[AbstractResult]:
    """The result of a folder, or those below a folder of a batch or a demo.

    Raises:
        VesaliusError: no result is there.
    """
    found = sorted(path.parent for path in folder.rglob(MARKER))
    if not found:
        raise VesaliusError(
            given=f"the folder {str(folder)!r} without a {MARKER}",
            expected="a folder that a command wrote with --out, or one that holds such folders",
            fix="name a method instead, such as: vesalius cite knowledge_neurons",
        )
    for path in found:
        _import_method_of(path)
    return [load_result(path) for path in found]


def _import_method_of(folder: Path) -> None:
    """A kind is known once its method is imported; what is wrong is left to ``load_result``."""
    try:
        head = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except ValueError:
        return
    kind = head.get("kind", "") if isinstance(head, dict) else ""
    name = str(cast("str", kind)).partition(".")[0]
    if kind in RECIPES:
        import_module(RECIPES[str(kind)])
    if name.isidentifier() and (_METHODS / name / "result.py").is_file():
        import_module(f"vesalius.methods.{name}.result")
