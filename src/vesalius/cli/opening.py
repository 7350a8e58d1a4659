"""Open the model that the flags name.

Source: ``vesalius.open``.
"""

from typing import TYPE_CHECKING

from vesalius.cli.flags import AbstractModelFlags
from vesalius.cli.progress import working
from vesalius.cli.quiet import quiet_loading

if TYPE_CHECKING:
    from vesalius.models.specimen import Specimen


def open_model(model: str, flags: AbstractModelFlags) -> "Specimen":
    """Open a model with the common flags, quietly, with a bar when it takes long."""
    with working(f"opening {model}"):
        from vesalius.models.opening import open as open_specimen

        with quiet_loading():
            return open_specimen(
                model, revision=flags.revision, device=flags.device, dtype=flags.dtype
            )
