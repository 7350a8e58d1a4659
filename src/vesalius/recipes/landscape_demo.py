"""The landscape of the bundled classifier, with the path of its training, in under a minute.

Its training is bundled beside it, so that nothing has to be trained; the texts are the package's
own. They are few: the pictures show how a landscape looks, not how well the model generalises.

Source: arXiv 1908.05620, figures 1 to 3; this project.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from vesalius.core.paths import new_folder
from vesalius.data.labelled import LabelledOptions, load_labelled
from vesalius.methods.loss_landscape.examples import Examples
from vesalius.methods.loss_landscape.frame import make_frame
from vesalius.methods.loss_landscape.line import line
from vesalius.methods.loss_landscape.plot import plot_trajectory
from vesalius.methods.loss_landscape.report import write_line, write_surface
from vesalius.methods.loss_landscape.result import Line, Surface
from vesalius.methods.loss_landscape.rollback import Rollback, rollback
from vesalius.methods.loss_landscape.surface import surface
from vesalius.methods.loss_landscape.surface_plot import plot_line, plot_surfaces
from vesalius.methods.loss_landscape.trajectory import Trajectory, trajectory
from vesalius.models import zoo
from vesalius.models.opening import open as open_model
from vesalius.plots.style import figure_bytes

MARKER: Final = "surface.html"
MODEL: Final = "mini-classifier"
DATA: Final = "opinions"
BOUNDS: Final = ((-1.4, 1.0), (-1.2, 1.2))  # the start of the path lies at alpha -1
STEPS: Final = (17, 13)


@final
@dataclass(frozen=True, kw_only=True)
class LandscapeDemo:
    """What the demo drew, and the files it wrote: the page first."""

    line: Line
    surface: Surface
    path: Trajectory
    rolled_back: Rollback
    files: tuple[Path, ...]
    notes: tuple[str, ...]


def run_landscape_demo(*, out: str | Path, force: bool = False) -> LandscapeDemo:
    """Draw line, surface, path and roll-back of the bundled classifier into a folder.

    Args:
        out: a new folder; one that the demo made before is replaced.
        force: whether to replace a folder that something else made.

    Raises:
        VesaliusError: the folder may not be written.

    Source: arXiv 1908.05620, figures 1 to 3. No shapes change hands.
    """
    specimen = open_model(MODEL)
    points = zoo.trajectory(MODEL)
    start = points.state_dict(0)
    data = load_labelled(DATA, options=LabelledOptions(need_dev=False))
    held_out = "dev" if "dev" in data.splits else "test"
    examples = Examples.of_labelled(specimen, data, held_out=held_out)
    to_solution = make_frame(specimen, ("solution",), start=start)
    plane = make_frame(
        specimen, ("pca", "pca"), checkpoints=[points.state_dict(i) for i in range(len(points))]
    )
    drawn = line(specimen, examples, to_solution)
    seen = surface(specimen, examples, plane, bounds=BOUNDS, steps=STEPS)
    path = trajectory(specimen, examples, plane, points)
    rolled = rollback(specimen, examples, start)
    out = Path(out)
    made_before = (out / MARKER).is_file()
    with new_folder(out, force=force or made_before, marker=MARKER) as folder:
        write_surface(seen, folder / MARKER, trajectory=path)
        write_line(drawn, folder / "line.html")
        rolled.to_html(folder / "rollback.html")
        pictures = {
            "surfaces.png": plot_surfaces(seen, trajectory=path),
            "line.png": plot_line(drawn),
            "path.png": plot_trajectory(path),
            "rollback.png": rolled.plot(),
        }
        for name, axes in pictures.items():
            (folder / name).write_bytes(figure_bytes(axes))
        for name, result in (("line", drawn), ("surface", seen), ("path", path)):
            result.save(folder / name)
        rolled.save(folder / "rollback")
    names = (MARKER, "line.html", "rollback.html", *pictures)
    return LandscapeDemo(
        line=drawn,
        surface=seen,
        path=path,
        rolled_back=rolled,
        files=tuple(out / name for name in names),
        notes=(
            f"The texts are {examples.num_examples['train']} and "
            f"{examples.num_examples['held_out']} sentences of {DATA}, which the model was not "
            "fine-tuned on (that was SST-2): what is called training loss here is theirs.",
        ),
    )
