"""The anatomy of pretrained Transformers: look inside, edit, prune, attack, calibrate, join.

>>> import vesalius
>>> vesalius.__name__
'vesalius'

Each name below is imported when it is first used, so ``import vesalius`` costs next to nothing.
"""

from typing import TYPE_CHECKING

from vesalius.core.lazy import lazy_names

if TYPE_CHECKING:
    from vesalius.methods import attention_attribution as attention
    from vesalius.methods import calibration as calibrate
    from vesalius.methods import electra as electra
    from vesalius.methods import knowledge_neurons as neurons
    from vesalius.methods import loss_landscape as landscape
    from vesalius.models import zoo as zoo
    from vesalius.models.opening import open as open

__version__ = "0.1.0.dev0"

# The short name of a thing -> the module it lives in, and its name there ("" for the module).
# A new method adds three lines: here, under TYPE_CHECKING above, and in __all__. Its short name
# is its word on the command line: neurons, attention, calibrate, landscape, electra, interface.
_LAZY = {
    "open": ("vesalius.models.opening", "open"),
    "zoo": ("vesalius.models.zoo", ""),
    "attention": ("vesalius.methods.attention_attribution", ""),
    "calibrate": ("vesalius.methods.calibration", ""),
    "electra": ("vesalius.methods.electra", ""),
    "landscape": ("vesalius.methods.loss_landscape", ""),
    "neurons": ("vesalius.methods.knowledge_neurons", ""),
}

__all__ = [
    "__version__",
    "attention",
    "calibrate",
    "electra",
    "landscape",
    "neurons",
    "open",
    "zoo",
]


__getattr__ = lazy_names(__name__, _LAZY)


def __dir__() -> list[str]:
    return sorted(__all__)
