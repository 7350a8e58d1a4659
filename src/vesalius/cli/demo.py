"""What `vesalius demo` prints: three short stories, and the files last.

Source: the design of this project, docs/decisions.md.
"""

from typing import TYPE_CHECKING

from vesalius.cli.neuron_tables import emit_story, story_dict
from vesalius.cli.output import emit, emit_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vesalius.recipes.asides import Aside
    from vesalius.recipes.demo import Demo


def show_demo(found: "Demo", asides: "Sequence[Aside]", *, json: bool) -> None:
    """Print a demo's stories and the paths of its files."""
    if json:
        stories = [
            {
                "located": story_dict(story.location, None),
                "suppressed": story_dict(None, story.suppressed),
                "amplified": story_dict(None, story.amplified),
            }
            for story in found.stories
        ]
        files = [str(path) for path in found.files]
        told = [vars(aside) for aside in asides]
        emit_json({"stories": stories, "changes": found.changes, "asides": told, "files": files})
        return
    for story in found.stories:
        emit_story(story.location, (story.suppressed, story.amplified))
    emit(f"{found.how_chosen}\n")
    for aside in asides:
        emit(aside.sentence)
    for path in found.files:
        emit(str(path))
