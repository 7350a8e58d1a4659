"""A plane through the scores of texts, in which classes, clusters and regions can be drawn.

Scores that differ by a constant say the same of the labels, so what counts is each
log-probability less the mean over the labels: the centred log-ratio. For two labels these lie on a
line, which their log-ratio measures; for three they fill a plane, and nothing is lost; for more
the plane is a projection, and the regions are a section through the mean of the texts.

Sources: Aitchison 1986, The Statistical Analysis of Compositional Data, section 4.6 (centred
log-ratio) and 8.3 (principal axes of it); the sections are our own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, final

import numpy as np
from jaxtyping import Float, Int
from scipy.special import log_softmax

from vesalius.core.errors import VesaliusError

_GRID: Final = 180  # points along an axis: a region's border is right to 1 % of the picture
_LINE: Final = 600  # points of a line, where one more costs nothing
_KEPT: Final = 0.995  # of the texts lie between the limits on each side; the rest are outliers

Answer = Callable[[Float[np.ndarray, "text label"]], Int[np.ndarray, " text"]]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ScorePlane:
    """The axes of a plane, and what a method answers at the points of a grid in it.

    ``directions`` [axis, label] have rows of sum zero, so they take log-probabilities of any
    normalisation to the plane: ``scores @ directions.T``. A line has one axis, and ``y`` is the
    one number 0. ``regions`` [method, y, x] are class numbers.
    """

    directions: Float[np.ndarray, "axis label"]
    axis_names: tuple[str, ...]
    note: str
    x: Float[np.ndarray, " x"]
    y: Float[np.ndarray, " y"]
    regions: Int[np.ndarray, "method y x"]

    def project(self, scores: Float[np.ndarray, "text label"]) -> Float[np.ndarray, "text axis"]:
        """Give the places [text, axis] of scores [text, label]; not finite where these are not."""
        with np.errstate(invalid="ignore"):
            return scores @ self.directions.T

    def project_covariance(
        self, covariance: Float[np.ndarray, "label label"]
    ) -> Float[np.ndarray, "axis axis"]:
        """Give the covariance [axis, axis] of what has that covariance [label, label]."""
        return self.directions @ covariance @ self.directions.T


def lay_plane(
    scores: Float[np.ndarray, "text label"],
    answers: Sequence[Answer],
    *,
    label_names: Sequence[str],
    labels: tuple[str, str] | None = None,
    means: Float[np.ndarray, "_ label"] | None = None,
) -> ScorePlane:
    """Lay a plane through scores, and ask each method what it answers there.

    Args:
        scores: log-probabilities [text, label].
        answers: what each method answers to scores [text, label]: class numbers [text].
        label_names: of the labels.
        labels: the two that are the axes, instead of the principal axes.
        means: of clusters [cluster, label] that the picture should reach.

    Returns:
        The plane with its regions [method, y, x].

    Raises:
        VesaliusError: a label that is not there, or twice the same.
    """
    finite = scores[np.isfinite(scores).all(axis=1)]
    centred = finite - finite.mean(axis=1, keepdims=True)
    centre = centred.mean(axis=0) if len(centred) else np.zeros(scores.shape[1])
    directions, names, note = _axes(centred - centre, label_names, labels)
    places = finite @ directions.T
    reached = places if means is None else np.concatenate([places, means @ directions.T])
    num_points = _LINE if len(directions) == 1 else _GRID
    grids = [_grid(places[:, i], reached[:, i], num_points) for i in range(len(directions))]
    x, y = grids[0], grids[1] if len(grids) > 1 else np.zeros(1)
    across, up = np.meshgrid(x, y)
    points = np.stack([across.ravel(), up.ravel()], axis=1)[:, : len(directions)]
    section = centre + (points - centre @ directions.T) @ np.linalg.pinv(directions).T
    asked = log_softmax(section, axis=1)
    regions = [np.asarray(answer(asked)).reshape(len(y), len(x)) for answer in answers]
    return ScorePlane(
        directions=directions,
        axis_names=names,
        note=note,
        x=x,
        y=y,
        regions=np.array(regions, dtype=np.int16).reshape(len(answers), len(y), len(x)),
    )


def _axes(
    deviations: Float[np.ndarray, "text label"],
    label_names: Sequence[str],
    labels: tuple[str, str] | None,
) -> tuple[Float[np.ndarray, "axis label"], tuple[str, ...], str]:
    """Choose the directions; give their names and what the picture leaves out."""
    num_labels = deviations.shape[1]
    if num_labels == 2:
        name = f"log P({label_names[1]}) − log P({label_names[0]}), nats"
        return np.array([[-1.0, 1.0]]), (name,), ""
    exact = num_labels == 3
    if labels is not None:
        places = _places(label_names, labels)
        directions = (np.eye(num_labels) - 1 / num_labels)[list(places)]
        names = tuple(f"log P({name}) less the mean over labels, nats" for name in labels)
        return directions, names, "" if exact else _section(labels)
    _, sizes, found = np.linalg.svd(deviations, full_matrices=False)
    if len(found) < 2 or not sizes[:1].sum():
        # one text has no principal axes: any two do
        found = np.linalg.svd(np.eye(num_labels) - 1 / num_labels)[2]
        shares = np.zeros(2)
    else:
        shares = sizes**2 / (sizes**2).sum()
    directions = found[:2]
    # an axis points where its largest weight does, not where the decomposition happened to
    largest = directions[np.arange(2), np.abs(directions).argmax(axis=1)]
    directions = directions * np.where(largest < 0, -1.0, 1.0)[:, None]
    names = tuple(
        f"{which} principal axis, nats ({share:.0%})"
        for which, share in zip(("first", "second"), shares[:2], strict=True)
    )
    return directions, names, "" if exact else _section(None)


def _section(labels: tuple[str, str] | None) -> str:
    what = (
        "the two axes (with their shares of the variance)"
        if labels is None
        else " and ".join(labels)
    )
    return (
        f"points: all labels, projected on {what}; regions: a section through the mean, "
        "so a point off it may be answered otherwise"
    )


def _places(label_names: Sequence[str], labels: tuple[str, str]) -> tuple[int, int]:
    missing = [name for name in labels if name not in label_names]
    if missing or labels[0] == labels[1]:
        raise VesaliusError(
            given=f"a plane of the labels {labels[0]!r} and {labels[1]!r}",
            expected=f"two of {', '.join(label_names)}",
            fix="leave it out for the principal axes",
        )
    first, second = (list(label_names).index(name) for name in labels)
    return first, second


def _grid(
    places: Float[np.ndarray, " text"], reached: Float[np.ndarray, " _"], num_points: int
) -> Float[np.ndarray, " point"]:
    """Even points over nearly all texts and all of what else must be reached."""
    if not len(reached):
        return np.linspace(-1.0, 1.0, num_points)
    low, high = np.quantile(places if len(places) else reached, [1 - _KEPT, _KEPT])
    others = reached[len(places) :]
    low, high = min([low, *others]), max([high, *others])
    margin = 0.12 * (high - low) if high > low else 1.0
    return np.linspace(low - margin, high + margin, num_points)
