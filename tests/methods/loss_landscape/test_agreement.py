"""Numbers beside pictures: of surfaces whose answer is known."""

from dataclasses import replace

import numpy as np
import pytest

from landscape_toys import classifier, examples
from vesalius.core.errors import VesaliusError
from vesalius.core.result import load_result
from vesalius.methods.loss_landscape import Line, Surface, agreement, line, make_frame, surface


@pytest.fixture(scope="module")
def drawn() -> Surface:
    specimen = classifier(0)
    frame = make_frame(specimen, ("solution", "random"), start=classifier(1).model)
    return surface(specimen, examples(), frame, steps=(7, 7), keep_examples=True)


@pytest.fixture(scope="module")
def curve() -> Line:
    specimen = classifier(0)
    frame = make_frame(specimen, ("solution",), start=classifier(1).model)
    return line(specimen, examples(), frame, bounds=(-1, 3), steps=41)


def _bowl(result: Surface | Line, place: float) -> np.ndarray:
    if isinstance(result, Line):
        return (result.alphas - place) ** 2
    a, b = np.meshgrid(result.alphas, result.betas, indexing="ij")
    return (a - place) ** 2 + b**2


def _with(result, train: np.ndarray, held_out: np.ndarray):
    values = {"train": {"loss": train}, "held_out": {"loss": held_out}}
    return replace(result, values=values, standard_errors=values, examples={}, labels={})


def test_equal_surfaces_agree_completely(drawn: Surface):
    bowl = _bowl(drawn, 1.0)
    found = agreement(_with(drawn, bowl, bowl), tau_nats=0.3, margin=0.3)
    (pair,) = found.pairs
    np.testing.assert_allclose(pair.rank_correlation, 1.0)
    assert (pair.argmin_distance, pair.overlap, pair.rank_interval) == (0.0, 1.0, None)


def test_shifted_and_inverted_surfaces_do_not(drawn: Surface):
    bowl = _bowl(drawn, 1.0)
    (pair,) = agreement(_with(drawn, bowl, _bowl(drawn, -1.0))).pairs
    np.testing.assert_allclose(pair.argmin_distance, 2.0)
    assert pair.overlap == 0.0
    (pair,) = agreement(_with(drawn, bowl, -bowl)).pairs
    np.testing.assert_allclose(pair.rank_correlation, -1.0)


def test_the_width_of_a_parabola(curve: Line):
    bowl = _bowl(curve, 1.0)
    found = agreement(_with(curve, bowl, bowl), tau_nats=0.25)
    region = found.regions[0]
    np.testing.assert_allclose(region.extent, 1.0, rtol=1e-6)
    assert not region.is_open
    assert (region.solution_nats, region.lowest_at, region.measured_at) == (0.0, (1.0,), (1.0,))
    assert agreement(_with(curve, bowl, bowl), tau_nats=100.0).regions[0].is_open


def test_the_area_of_a_paraboloid(drawn: Surface):
    specimen = classifier(0)
    frame = make_frame(specimen, ("random", "random"))
    fine = surface(specimen, examples(), frame, bounds=((-1, 1), (-1, 1)), steps=(41, 41))
    bowl = _bowl(fine, 0.0)
    found = agreement(_with(fine, bowl, bowl), tau_nats=0.25)
    np.testing.assert_allclose(found.regions[0].extent, np.pi / 4, rtol=0.01)


def test_single_examples_give_intervals(drawn: Surface, tmp_path):
    found = agreement(drawn, num_resamples=20)
    for pair in found.pairs:
        assert pair.rank_interval is not None
        assert pair.rank_interval.low <= pair.rank_interval.high
    again = load_result(found.save(tmp_path / "agreement"))
    assert again.to_dict() == found.to_dict()
    assert again.to_table().column("measure").to_pylist() == ["loss", "error"]


def test_what_cannot_be_compared_is_refused(drawn: Surface):
    with pytest.raises(VesaliusError, match="held-out"):
        agreement(replace(drawn, values={"train": drawn.values["train"]}))
    with pytest.raises(VesaliusError, match="tau_nats"):
        agreement(drawn, tau_nats=float("nan"))
    nothing = np.full(drawn.measured("train", "loss").shape, np.nan)
    with pytest.raises(VesaliusError, match="finite"):
        agreement(_with(drawn, nothing, nothing))
