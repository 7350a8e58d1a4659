"""Names of a package that are imported when they are first used (PEP 562).

Source: PEP 562, module ``__getattr__``.
"""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(package: str, places: Mapping[str, tuple[str, str]]) -> Callable[[str], Any]:
    """Make the ``__getattr__`` of a package from a table of places.

    Args:
        package: the ``__name__`` of the package.
        places: each name's module and its name in there, "" for the module itself.

    >>> look_up = lazy_names("vesalius", {"cite": ("vesalius.core.cite", "cite")})
    >>> look_up("cite").__name__
    'cite'
    """

    def look_up(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module_name, attribute = places[name]
        module = import_module(module_name)
        value = getattr(module, attribute) if attribute else module
        setattr(sys.modules[package], name, value)
        return value

    return look_up
