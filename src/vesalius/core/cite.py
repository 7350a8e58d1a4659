"""What to cite, as BibTeX: the papers behind what was really used, and this package.

An entry's key is the name of the method's folder. Another source is added to ``citations.bib``
and named in the ``citations`` of the result class that relies on it.

Source: the publishers' pages of the six papers; the entries are in ``citations.bib``.
"""

import re
from functools import cache
from importlib import resources

from vesalius.core.card import installed_versions
from vesalius.core.errors import VesaliusError
from vesalius.core.result import AbstractResult


@cache
def citations() -> dict[str, str]:
    """Read every BibTeX entry by its key."""
    text = resources.files("vesalius.core").joinpath("citations.bib").read_text("utf-8")
    text = text.replace("VERSION", installed_versions()["vesalius"])
    entries = [entry.strip() for entry in re.split(r"\n(?=@)", text)]
    return {entry.split("{", 1)[1].split(",", 1)[0]: entry for entry in entries}


def cite(*subjects: str | AbstractResult) -> str:
    """Give the BibTeX entries of methods or results, each once, vesalius itself at the end.

    A text is a method's name or a result's kind, of which the part before the dot counts.

    Raises:
        VesaliusError: there is no entry for a subject.

    >>> print(cite("knowledge_neurons.locate").splitlines()[1])
      title     = {Knowledge Neurons in Pretrained Transformers},
    """
    keys: list[str] = []
    for subject in subjects:
        if isinstance(subject, str):
            keys.append(subject.partition(".")[0])
        else:
            keys += [subject.kind.partition(".")[0], *subject.citations]
    keys.append("vesalius")
    known = citations()
    for key in keys:
        if key not in known:
            raise VesaliusError(
                given=f"nothing to cite for {key!r}",
                expected=f"one of {', '.join(known)}",
                fix="name a method or hand over a result",
            )
    return "\n\n".join(known[key] for key in dict.fromkeys(keys))
