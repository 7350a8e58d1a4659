"""Pictures of results: each value where it belongs, each kind of result drawn."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

import landscape_results as made
from vesalius.core.errors import VesaliusError
from vesalius.methods.loss_landscape.plot import (
    plot_barrier,
    plot_flatness,
    plot_line,
    plot_rollback,
    plot_surface,
    plot_surfaces,
    plot_trajectory,
    turning_surface,
)
from vesalius.methods.loss_landscape.trajectory import BESIDE
from vesalius.methods.loss_landscape.wording import axis_places, floor_level
from vesalius.plots.style import figure_bytes

PAPER = made.make_trajectory(projection="paper", axes=(made.AXES[0], BESIDE))


def legend_words(ax) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_a_line_has_loss_and_error_beside_each_other_with_their_floor():
    line = made.make_line()
    ax = plot_line(line)
    loss, error = ax.figure.axes
    curves = {each.get_label(): each.get_ydata() for each in loss.get_lines()}
    np.testing.assert_array_equal(curves["train"], line.values["train"]["loss"])
    np.testing.assert_array_equal(curves["held-out"], line.values["held_out"]["loss"])
    assert (loss.get_ylabel(), error.get_ylabel()) == ("loss (nats)", "error")
    # 0.2625 and 0.45 at 0.25 and 0.5 from the lowest point: linear between them, 0.3 is at 0.3
    (shade,) = [p for p in loss.patches if "within" in str(p.get_label())]
    np.testing.assert_allclose((shade.get_x(), shade.get_width()), (0.7, 0.6))
    assert "train: within 0.1 nats, 0.6 wide" in legend_words(loss)
    np.testing.assert_allclose(floor_level(line.values["train"]["loss"], "loss"), 0.3)
    assert {text.get_text() for text in loss.texts} == {"start", "solution"}
    assert line.plot().get_ylabel() == "loss (nats)"
    given = Figure().add_subplot()
    assert plot_line(line, ax=given) is given


def test_places_of_a_frame_are_named_for_what_they_are():
    random = ("random (filter), draw 1", "random (filter), draw 2")
    assert axis_places(random, (0.0, 0.0)) == {"solution": (0.0, 0.0)}
    assert axis_places(("towards the other solution",), (0.0,)) == {"start": (0.0,)}
    assert axis_places(made.AXES, (1.0, 0.0)) == {"start": (0.0, 0.0), "solution": (1.0, 0.0)}


@pytest.mark.parametrize("split", ["train", "held_out"])
@pytest.mark.parametrize("measure", ["loss", "error"])
def test_every_surface_is_drawn_both_ways(split, measure):
    surface, path = made.with_holes(made.make_surface()), made.make_trajectory()
    drawn = {"split": split, "measure": measure, "trajectory": path}
    ax = plot_surface(surface, **drawn)
    title = f"{split.replace('_', '-')} {measure}"
    assert ax.get_title() == title
    assert ax.get_xlabel() == f"alpha: {made.AXES[0]}"
    assert any("lowest point" in word for word in legend_words(ax))
    assert "training path, true values as dots" in legend_words(ax)
    (dots,) = [c for c in ax.collections if len(c.get_offsets()) == 6]
    np.testing.assert_allclose(dots.get_array(), path.values[split][measure])
    assert plot_surface(surface, **drawn, kind="3d").get_zlabel() == (
        "error" if measure == "error" else "loss (nats)"
    )
    figure = turning_surface(surface, **drawn)
    np.testing.assert_allclose(figure.data[0].customdata, surface.measured(split, measure).T)


def test_an_adaptive_surface_shows_what_was_measured():
    ax = plot_surface(made.adaptive(made.make_surface()))
    assert "measured (35 of 117), the rest interpolated" in legend_words(ax)


def test_surfaces_of_one_measure_share_their_colours():
    surface = made.make_surface()
    ax = plot_surfaces(surface, trajectory=made.make_trajectory())
    assert [place.get_title() for place in ax.figure.axes] == [
        "train loss", "held-out loss", "held-out error",
    ]  # fmt: skip
    bars = [place.child_axes[0] for place in ax.figure.axes]
    train, held_out, error = (bar.get_ylim() for bar in bars)
    assert train == held_out != error
    assert figure_bytes(ax)
    given = Figure(figsize=(15, 5)).add_subplot()
    assert plot_surfaces(surface, ax=given) is given
    only_train = replace(surface, values={"train": {"loss": surface.values["train"]["loss"]}})
    assert len(plot_surfaces(only_train).figure.axes) == 1


def test_the_papers_coordinates_are_drawn_and_named_as_such():
    ax = plot_surface(made.make_surface(), trajectory=PAPER)
    assert any("as in the paper" in word for word in legend_words(ax))
    assert figure_bytes(plot_trajectory(PAPER))


def test_a_trajectory_shows_path_losses_and_what_leaves_the_plane():
    path = made.make_trajectory()
    ax = plot_trajectory(path)
    plane, reached, away = ax.figure.axes
    curves = {line.get_label(): line.get_ydata() for line in reached.get_lines()}
    np.testing.assert_array_equal(curves["held-out"], path.values["held_out"]["loss"])
    assert "share of the way off the plane" in legend_words(away)
    assert plane.get_xlabel() == f"alpha: {made.AXES[0]}"
    places_only = made.make_trajectory(values={}, standard_errors={}, num_examples={})
    assert len(plot_trajectory(places_only).figure.axes) == 2
    single = made.make_trajectory(
        axes=made.AXES[:1], solution=(1.0,), coordinates=path.coordinates[:, :1]
    )
    assert "share of the way off the first axis" in legend_words(
        plot_trajectory(single).figure.axes[2]
    )
    given = Figure().add_subplot()
    assert plot_trajectory(path, ax=given) is given
    assert figure_bytes(given)


def test_a_rollback_has_a_bar_for_every_group_headed_by_its_kind():
    ax = plot_rollback(made.make_rollback())
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == [
        "low (0)", "middle (1)", "high (2–3)", "embeddings", "whole encoder",
        "layer 0", "layer 1", "layer 2", "layer 3",
    ]  # fmt: skip
    np.testing.assert_allclose([bar.get_width() for bar in ax.patches][:3], [0.89, 0.8, 0.55])
    assert legend_words(ax) == [
        "fine-tuned (90.0%)", "start (50.0%)", "commonest class (52.0%)",
    ]  # fmt: skip
    forward = made.make_rollback(direction="forward", majority_accuracy=None)
    ax = plot_rollback(forward)
    assert "fine-tuned weights in these layers" in ax.get_xlabel()
    assert len(legend_words(ax)) == 2


def test_a_barrier_is_an_arrow_over_the_straight_way():
    ax = plot_barrier(made.make_barrier())
    arrows = [text for text in ax.texts if text.get_text() == ""]
    heights = sorted(arrow.xy[1] - arrow.xyann[1] for arrow in arrows)
    np.testing.assert_allclose(heights, [0.25, 0.5])
    assert {text.get_text() for text in ax.texts} >= {"this model", "the other"}
    flat = made.make_barrier()
    flat = replace(flat, heights=tuple(replace(h, height=np.inf) for h in flat.heights))
    assert figure_bytes(plot_barrier(flat))


def test_flatness_has_bars_of_both_geometries_and_widths_where_they_are():
    ax = plot_flatness(made.make_flatness())
    bars, widths = ax.figure.axes
    assert len(bars.patches) == 10
    assert len(widths.get_yticklabels()) == 2
    assert "at least 1.2" in [text.get_text() for text in widths.texts]
    bare = made.make_flatness(widths=())
    none = {"eigenvalues": np.empty(0), "residuals": np.empty(0), "trace": None}
    bare = replace(bare, raw=replace(bare.raw, **none), normalised=replace(bare.normalised, **none))
    assert len(plot_flatness(bare).patches) == 6
    assert figure_bytes(ax)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: plot_surface(made.make_surface(), kind="bars"), "kind='bars'"),
        (lambda: plot_surface(made.make_surface(), split="test"), "'loss' of 'test'"),
        (lambda: plot_surfaces(made.make_surface(), panels=[("train", "f1")]), "'f1' of 'train'"),
        (lambda: plot_surfaces(made.make_surface(), panels=[]), "'' of ''"),
        (lambda: plot_line(made.make_line(), measures=["f1"]), "measures f1"),
        (lambda: plot_trajectory(made.make_trajectory(), parts=["map"]), "part='map'"),
        (
            lambda: plot_trajectory(made.make_trajectory(), measure="f1", parts=["reached"]),
            "not measured",
        ),
        (
            lambda: plot_surface(
                made.make_surface(), trajectory=made.make_trajectory(axes=("a", "b"))
            ),
            "a trajectory along a and b",
        ),
        (
            lambda: plot_surface(
                made.make_surface(axes=("another", "plane")), trajectory=PAPER
            ),
            "a trajectory along towards the solution",
        ),
    ],
)  # fmt: skip
def test_bad_input_is_refused(call, said):
    with pytest.raises(VesaliusError) as caught:
        call()
    assert said in str(caught.value)
