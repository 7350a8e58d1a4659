"""A landscape in three dimensions: a still picture, and a figure that can be turned by hand.

Source: figure 1 of arXiv 1712.09913 made such pictures known; plotly draws the one that turns.
"""

from collections.abc import Sequence
from html import escape
from textwrap import fill
from typing import Any, Final

import numpy as np
from jaxtyping import Float

from vesalius.core.errors import VesaliusError
from vesalius.plots.attention_map import title_above
from vesalius.plots.curves import plain_label
from vesalius.plots.landscape_path import Mark, TracePath, axis_labels, inside, mark_style
from vesalius.plots.landscape_scale import COLOUR_MAP, ValueScale, check_grid, value_scale
from vesalius.plots.style import INK, RULE

_PAPER: Final = "#fdfcf9"  # of our pages
_LIFT: Final = 0.02  # of the range: a mark on the surface would be half in it
_STEM: Final = 0.03  # of the range: a dot so near to the surface needs no stem
_PLOTLY_SYMBOLS: Final = {"start": "circle", "solution": "diamond", "other": "square"}


def surface_picture(
    values: Float[np.ndarray, "x y"],
    *,
    alphas: Float[np.ndarray, " x"],
    betas: Float[np.ndarray, " y"],
    unit: str,
    axes: tuple[str, str] = ("", ""),
    title: str = "",
    path: TracePath | None = None,
    marks: Sequence[Mark] = (),
    scale: ValueScale | None = None,
    log: bool | None = None,
    percent: bool = False,
    view: tuple[float, float] = (32.0, -118.0),
    ax: Any = None,
) -> Any:
    """Draw a surface in three dimensions; what is not finite leaves a hole.

    Args:
        values: values[i, j] at (alphas[i], betas[j]).
        alphas, betas: growing, two places or more each.
        unit: of the values, for the upright axis.
        axes: their names.
        title: of the Axes.
        path: of a training; its points stand at their own values, on stems where these do not
            lie on the surface.
        marks: places with names, set on the surface.
        scale, log, percent: how values become heights; see value_scale.
        view: degrees above the ground and around the upright axis.
        ax: matplotlib Axes in three dimensions, or None for a new figure.

    Returns: The matplotlib Axes.
    Raises: VesaliusError for shapes that differ, an axis that does not grow, Axes in two
    dimensions, or a logarithmic scale for values that are not above 0.
    """
    check_grid(values, alphas, betas)
    scale = scale or value_scale([values], log=log, percent=percent)
    ax = _three_dimensional(ax)
    ax.view_init(*view)
    ax.computed_zorder = False  # else matplotlib hides whole lines behind the surface
    ground = _Ground(values, alphas, betas, scale)
    if not _skin(ax, ground):
        ax.text2D(0.5, 0.5, "no finite value", transform=ax.transAxes, ha="center", color=INK)
    handles = [] if path is None else _draw_path(ax, path, ground)
    for mark in marks:
        style = mark_style(mark, alphas, betas)
        height = ground.height(np.array([mark.place], dtype=np.float64))
        if not style["clip_on"] and bool(np.isfinite(height).all()):
            lift = _LIFT * (ground.top - ground.bottom)
            ax.plot(*mark.place, height + lift, **style, zorder=7)
        handles += ax.plot([], [], [], **style)
    _finish(ax, ground, unit, axes)
    title_above(ax, title, pad=4.0)
    if handles:
        ax.legend(
            handles=handles, frameon=False, fontsize=8.5, ncols=2, loc="upper center",
            bbox_to_anchor=(0.48, -0.04),
        )  # fmt: skip
    return ax


class _Ground:
    """The surface in heights of the picture, also between the points of the grid."""

    def __init__(
        self,
        values: Float[np.ndarray, "x y"],
        alphas: Float[np.ndarray, " x"],
        betas: Float[np.ndarray, " y"],
        scale: ValueScale,
    ) -> None:
        finite = np.where(np.isfinite(values), values, np.nan)
        self.values, self.alphas, self.betas, self.scale = finite, alphas, betas, scale
        self.heights = scale.heights(finite)
        low, high = scale.heights(np.array([scale.low, scale.high]))
        self.bottom, self.top = float(low), float(high)

    def height(self, places: Float[np.ndarray, "point 2"]) -> Float[np.ndarray, " point"]:
        """Heights by bilinear interpolation; NaN outside of the grid and beside a hole."""
        from scipy.interpolate import RegularGridInterpolator

        found = RegularGridInterpolator(
            (self.alphas, self.betas), self.heights, bounds_error=False, fill_value=np.nan
        )
        return np.asarray(found(places), dtype=np.float64)


def _three_dimensional(ax: Any) -> Any:
    if ax is not None and getattr(ax, "name", "") != "3d":
        raise VesaliusError(
            given="matplotlib Axes in two dimensions",
            expected="Axes in three",
            fix='make them with figure.add_subplot(projection="3d")',
        )
    if ax is not None:
        return ax
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 5.7))
    figure.subplots_adjust(left=0.05, right=0.99, bottom=0.15, top=0.95)
    return figure.add_subplot(projection="3d")


def _skin(ax: Any, ground: _Ground) -> int:
    """Draw the four-cornered pieces that have four finite corners, and give their number."""
    from matplotlib import colormaps
    from mpl_toolkits.mplot3d.art3d import Poly3DCollection

    x, y = np.meshgrid(ground.alphas, ground.betas, indexing="ij")
    points = np.stack([x, y, ground.heights], axis=-1)
    corners = np.stack([points[:-1, :-1], points[1:, :-1], points[1:, 1:], points[:-1, 1:]], axis=2)
    pieces = corners.reshape(-1, 4, 3)
    pieces = pieces[np.isfinite(pieces).all(axis=(1, 2))]
    span = np.array([np.ptp(ground.alphas), np.ptp(ground.betas), ground.top - ground.bottom])
    shares = (pieces[:, :, 2].mean(axis=1) - ground.bottom) / span[2]
    colours = colormaps[COLOUR_MAP](shares)
    colours[:, :3] *= _light(pieces / span)[:, None]
    many = max(ground.heights.shape) > 80  # finer than this, edges would be all one sees
    skin = Poly3DCollection(
        pieces, facecolors=colours, edgecolors=colours if many else (1, 1, 1, 0.35),
        linewidths=0.2 if many else 0.3, zorder=1,
    )  # fmt: skip
    if len(pieces):
        ax.add_collection3d(skin, autolim=False)
    return len(pieces)


def _light(pieces: Float[np.ndarray, "piece 4 3"]) -> Float[np.ndarray, " piece"]:
    """How bright a piece is, 0.72 to 1, lit from above and from one side."""
    across, along = pieces[:, 2] - pieces[:, 0], pieces[:, 3] - pieces[:, 1]
    normal = np.cross(across, along)
    length = np.linalg.norm(normal, axis=1)
    lamp = np.array([-0.5, -0.35, 0.79])
    return 0.72 + 0.28 * np.abs(normal @ lamp) / np.where(length > 0, length, 1.0)


def _draw_path(ax: Any, path: TracePath, ground: _Ground) -> list[Any]:
    """Draw the points at their own heights, and stems down or up to the surface."""
    from matplotlib import patheffects
    from matplotlib.lines import Line2D

    shown = inside(path.coordinates, ground.alphas, ground.betas)
    surface = ground.height(path.coordinates)
    own = surface if path.values is None else ground.scale.heights(path.values)
    heights = np.where(shown, own, np.nan)
    halo = [patheffects.withStroke(linewidth=3.0, foreground=INK)]
    ax.plot(*path.coordinates.T, heights, color="white", linewidth=1.5, zorder=5,
            path_effects=halo)  # fmt: skip
    far = np.abs(heights - surface) > _STEM * (ground.top - ground.bottom)
    for place, foot, head in zip(path.coordinates[far], surface[far], heights[far], strict=True):
        ax.plot(
            *([part, part] for part in place), [foot, head], color="white", linewidth=0.7, zorder=4,
            path_effects=[patheffects.withStroke(linewidth=1.6, foreground=INK)],
        )  # fmt: skip
    dots: dict[str, Any] = {"markeredgecolor": INK, "markeredgewidth": 0.6, "markersize": 4.5}
    ax.plot(*path.coordinates.T, heights, "o", color="white", zorder=6, **dots)
    name = path.name if path.values is None else f"{path.name}, at its true values"
    return [
        Line2D([], [], color="white", linewidth=1.5, marker="o", label=plain_label(name),
               path_effects=[patheffects.withStroke(linewidth=2.6, foreground=INK)], **dots)
    ]  # fmt: skip


def _finish(ax: Any, ground: _Ground, unit: str, axes: tuple[str, str]) -> None:
    from matplotlib.ticker import MaxNLocator

    x_label, y_label = (plain_label(fill(name, 30)) for name in axis_labels(axes))
    scale = ground.scale
    ticks = scale.ticks()
    for axis, places in ((ax.xaxis, ground.alphas), (ax.yaxis, ground.betas)):
        axis.set_view_interval(places[0], places[-1], ignore=True)
        axis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))
        axis.set_major_formatter("{x:g}")
    ax.set_zlim(ground.bottom, ground.top)
    ax.set_zticks(scale.heights(ticks), [scale.word(tick) for tick in ticks])
    ax.set_xlabel(x_label, fontsize=9.5, labelpad=6)
    ax.set_ylabel(y_label, fontsize=9.5, labelpad=6)
    ax.zaxis.set_rotate_label(False)  # it would stand on its head on the left
    ax.set_zlabel(plain_label(fill(scale.label(unit), 34)), fontsize=9.5, labelpad=6, rotation=90)
    ax.tick_params(labelsize=8.5, colors=INK, pad=1)
    for axis in (ax.xaxis, ax.yaxis, ax.zaxis):
        axis.set_pane_color((1, 1, 1, 0))
        axis.line.set_color(RULE)
        axis._axinfo["grid"].update(color=RULE, linewidth=0.5)  # there is no public way
    ax.set_box_aspect((1, 1, 0.72), zoom=1.0)


def surface_figure(
    values: Float[np.ndarray, "x y"],
    *,
    alphas: Float[np.ndarray, " x"],
    betas: Float[np.ndarray, " y"],
    unit: str,
    axes: tuple[str, str] = ("", ""),
    title: str = "",
    path: TracePath | None = None,
    marks: Sequence[Mark] = (),
    scale: ValueScale | None = None,
    log: bool | None = None,
    percent: bool = False,
) -> Any:
    """Make a plotly figure of a surface that can be turned; what is not finite leaves a hole.

    Pointing at a place shows alpha, beta and the value, also one that the scale cuts off.

    Args:
        values: values[i, j] at (alphas[i], betas[j]).
        alphas, betas: growing, two places or more each.
        unit: of the values.
        axes: their names.
        title: of the figure.
        path: of a training, at its own values.
        marks: places with names, set on the surface.
        scale, log, percent: how values become heights; see value_scale.

    Returns: A ``plotly.graph_objects.Figure``.
    Raises: VesaliusError for shapes that differ, an axis that does not grow, or a logarithmic
    scale for values that are not above 0.
    """
    check_grid(values, alphas, betas)
    from plotly import graph_objects

    scale = scale or value_scale([values], log=log, percent=percent)
    ground = _Ground(values, alphas, betas, scale)
    hover = (
        "alpha %{x:.3g}<br>beta %{y:.3g}<br>"
        f"{escape(unit)} %{{customdata:{'.1%' if percent else '.4g'}}}<extra></extra>"
    )
    skin = graph_objects.Surface(
        x=alphas, y=betas, z=ground.heights.T, customdata=ground.values.T, hovertemplate=hover,
        cmin=ground.bottom, cmax=ground.top, colorscale="Viridis", connectgaps=False,
        colorbar={"title": {"text": escape(fill(scale.label(unit), 30)).replace("\n", "<br>")},
                  "thickness": 14, "len": 0.7, **_ticks(scale)},
        contours={"z": {"show": True, "usecolormap": False, "color": "rgba(255,255,255,0.5)",
                        "width": 1}},
        name="surface", showlegend=False,
    )  # fmt: skip
    figure = graph_objects.Figure([skin, *_traces(path, marks, ground, hover)])
    figure.update_layout(
        title={"text": escape(title)}, paper_bgcolor=_PAPER, font={"color": INK, "size": 12},
        margin={"l": 0, "r": 0, "t": 40 if title else 10, "b": 34}, height=640,
        legend={"orientation": "h", "y": -0.01, "yanchor": "top", "x": 0.5, "xanchor": "center"},
        scene=_scene(ground, axes),
    )  # fmt: skip
    return figure


def _ticks(scale: ValueScale) -> dict[str, Any]:
    ticks = scale.ticks()
    return {"tickvals": scale.heights(ticks), "ticktext": [scale.word(tick) for tick in ticks]}


def _scene(ground: _Ground, axes: tuple[str, str]) -> dict[str, Any]:
    """Axes and camera of the figure that turns."""
    # the labels of a 3-D axis know tags, but no entities: "&lt;" would stand there as it is
    signs = str.maketrans("<>&", "\u2039\u203a+")
    x_label, y_label = (name.translate(signs) for name in axis_labels(axes))
    plain: dict[str, Any] = {"showbackground": False, "gridcolor": RULE, "zerolinecolor": RULE}
    first, second = ground.alphas[[0, -1]].tolist(), ground.betas[[0, -1]].tolist()
    return {
        "xaxis": plain | {"title": {"text": x_label}, "range": first},
        "yaxis": plain | {"title": {"text": y_label}, "range": second},
        "zaxis": plain
        | {"title": {"text": ""}, "range": [ground.bottom, ground.top], **_ticks(ground.scale)},
        "aspectmode": "manual",
        "aspectratio": {"x": 1.1, "y": 1.1, "z": 0.8},
        "camera": {"eye": {"x": -0.9, "y": -1.75, "z": 1.1}, "center": {"z": -0.06}},
    }


def _traces(
    path: TracePath | None, marks: Sequence[Mark], ground: _Ground, hover: str
) -> list[Any]:
    """The path and the marks, a little above the surface so that it does not swallow them."""
    from plotly import graph_objects

    lift = _LIFT * (ground.top - ground.bottom)
    traces: list[Any] = []
    if path is not None and len(path.coordinates):
        shown = inside(path.coordinates, ground.alphas, ground.betas)
        surface = ground.height(path.coordinates)
        own = surface if path.values is None else ground.scale.heights(path.values)
        heights = np.where(shown, own, np.nan)
        numbers = 10**surface if ground.scale.log else surface
        traces.append(
            graph_objects.Scatter3d(
                x=path.coordinates[:, 0], y=path.coordinates[:, 1], z=heights + lift,
                customdata=numbers if path.values is None else path.values,
                mode="lines+markers", hovertemplate=hover, name=escape(path.name),
                line={"color": "white", "width": 5},
                marker={"size": 4, "color": "white", "line": {"color": INK, "width": 1}},
            )
        )  # fmt: skip
    for mark in marks:
        places = np.array([mark.place], dtype=np.float64)
        height = ground.height(places)
        traces.append(
            graph_objects.Scatter3d(
                x=places[:, 0], y=places[:, 1], z=height + 1.5 * lift, mode="markers",
                customdata=10**height if ground.scale.log else height, hovertemplate=hover,
                name=escape(mark.name),
                marker={"size": 7, "symbol": _PLOTLY_SYMBOLS[mark.symbol], "color": "white",
                        "line": {"color": INK, "width": 2}},
            )
        )  # fmt: skip
    return traces


def figure_html(figure: Any, *, name: str, with_plotly: bool = True) -> str:
    """Write a plotly figure as a piece of HTML that needs no network; no shapes.

    Args:
        figure: of plotly.
        name: of the element, once in a page.
        with_plotly: whether plotly's own script comes with it (4.8 MB): once in a page.

    Returns: HTML; every name in it was escaped by plotly.
    """
    config = {
        "displaylogo": False,
        "responsive": True,
        # one uploads the numbers to a server of others; the other needs what our pages forbid
        "modeBarButtonsToRemove": ["sendChartToCloud", "toImage"],
        "showSendToCloud": False,
    }
    return figure.to_html(full_html=False, include_plotlyjs=with_plotly, div_id=name, config=config)
