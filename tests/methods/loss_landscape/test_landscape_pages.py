"""Pages of landscapes: they say what the pictures show, need no network, and escape all text."""

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from plotly.offline import get_plotlyjs

import landscape_results as made
from vesalius.core.errors import VesaliusError
from vesalius.methods.loss_landscape import plot, report
from vesalius.methods.loss_landscape.study_tables import (
    barrier_sentences,
    flatness_rows,
    rollback_rows,
    rollback_sentences,
    width_rows,
)
from vesalius.methods.loss_landscape.tables import (
    agreement_rows,
    height_at,
    line_rows,
    missing_sentences,
    number_word,
    off_plane_sentence,
    plane_rows,
    surface_rows,
    trajectory_rows,
    way_sentence,
)
from vesalius.methods.loss_landscape.trajectory import BESIDE

NASTY = """</script><b>x</b>' & $"""


class Reader(HTMLParser):
    """Collects elements, and the text outside of scripts and styles, as a browser would."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._tag = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._tag = tag

    def handle_endtag(self, tag):
        self._tag = ""

    def handle_data(self, data):
        if self._tag not in ("script", "style"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.texts).replace("\xa0", " ")


RESULTS = {
    "line": made.make_line(axis=NASTY),
    "surface": made.with_holes(made.make_surface(axes=(NASTY, NASTY))),
    "trajectory": made.make_trajectory(axes=(NASTY, NASTY)),
    "rollback": made.make_rollback(),
    "barrier": made.make_barrier(moved=NASTY),
    "flatness": made.make_flatness(moved=NASTY),
}


def write(kind: str, path: Path) -> Reader:
    """Write a page, a surface's with its path; give it as a browser reads it, without plotly."""
    result = RESULTS[kind]
    told = {"trajectory": RESULTS["trajectory"]} if kind == "surface" else {}
    written = getattr(report, f"write_{kind}")(result, path / f"{kind}.html", **told)
    text = written.read_text(encoding="utf-8")
    assert text.count(get_plotlyjs()) == (kind == "surface")  # once, not twice
    short = text.replace(get_plotlyjs(), "")
    page = Reader(short)
    # what a browser takes for a script is all that ends like one
    assert sum(tag == "script" for tag, _ in page.elements) == short.count("</script>")
    return page


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, Reader]:
    folder = tmp_path_factory.mktemp("pages")
    return {kind: write(kind, folder) for kind in RESULTS}


@pytest.mark.parametrize("kind", RESULTS)
def test_a_page_needs_no_network_and_says_where_it_comes_from(kind, pages):
    page = pages[kind]
    for tag, attributes in page.elements:
        for name in ("src", "href"):
            assert (attributes.get(name) or "data:").startswith("data:"), (tag, name)
    assert any(tag == "img" for tag, _ in page.elements)
    assert all(words.get("alt") for tag, words in page.elements if tag == "img")
    assert "tiny f00d" in page.text
    assert "beef" in page.text


@pytest.mark.parametrize("kind", RESULTS)
def test_a_result_writes_and_draws_itself(kind, monkeypatch):
    told: list = []

    def write(*given, **options) -> Path:
        told.append((given, options))
        return Path("x.html")

    monkeypatch.setattr(report, f"write_{kind}", write)
    monkeypatch.setattr(plot, f"plot_{kind}", write)
    RESULTS[kind].to_html("x.html", force=True)
    RESULTS[kind].plot()
    assert told == [
        ((RESULTS[kind], "x.html"), {"force": True}),
        ((RESULTS[kind],), {"ax": None}),
    ]


def test_a_page_is_replaced_only_when_told(tmp_path):
    path = report.write_flatness(RESULTS["flatness"], tmp_path / "page.html")
    with pytest.raises(VesaliusError, match="exists"):
        report.write_flatness(RESULTS["flatness"], path)
    assert report.write_flatness(RESULTS["flatness"], path, force=True) == path


@pytest.mark.parametrize("kind", RESULTS)
def test_every_name_is_escaped(kind, pages):
    page = pages[kind]
    assert not any(tag == "b" for tag, _ in page.elements)
    assert (NASTY in page.text) == (kind != "rollback")  # which has no name of a user's
    scripts = [tag for tag, _ in page.elements if tag == "script"]
    assert len(scripts) == (4 if kind == "surface" else 0)  # plotly's two, and two surfaces


def test_a_surface_page_turns_and_says_how_far_the_path_is_off(pages):
    page = pages["surface"]
    ids = {words.get("id") for _, words in page.elements}
    assert {"surface-0", "surface-1"} <= ids
    for told in (
        "64 train and 32 held-out examples",
        "cosine between the axes",
        "0.0123",
        "The train loss is not finite at 3 of 117 points.",
        "nothing is filled in",
        "leads out of the plane in the mean",
        "train loss below",
        "all weights but those of the head",
    ):
        assert told in page.text, told


def test_the_numbers_of_a_line_are_those_of_its_formula():
    header, rows = line_rows(made.make_line())
    assert header[:3] == ["measure", "at the start", "at the solution"]
    name, start, solution, lowest, alpha, floor, rise = rows[0]
    assert name == "train loss"
    values = [str(cell).split("\xa0")[0] for cell in (start, solution, lowest)]
    assert values == ["1.20", "0.200", "0.200"]
    assert (alpha, rise) == (1.0, "0")
    assert floor == "0.7 to 1.3: 0.6 wide"
    # a line without a start has neither that column nor a way
    random = made.make_line(axis="random (filter), draw 1", solution=0.0)
    header, rows = line_rows(random)
    assert header == ["measure", "at the solution", "lowest", "at alpha", "floor around it"]
    assert all(len(row) == len(header) for row in rows)
    assert way_sentence(random) == ""


def test_a_way_that_rises_or_breaks_is_told():
    assert "never rises" in way_sentence(made.make_line())
    values = made.bowl(made.ALPHAS)
    values["train"]["loss"][6] += 0.9  # at alpha 0.5: 1.35 after 0.7625
    rise = way_sentence(made.make_line(values=values))
    assert f"rises by up to {1.35 - 0.7625:.3g} nats" in rise
    values["train"]["loss"][6] = np.nan
    assert "not finite somewhere" in way_sentence(made.make_line(values=values))
    assert missing_sentences(values)[0] == "The train loss is not finite at 1 of 13 points."
    assert missing_sentences(made.bowl(made.ALPHAS)) == []


def test_agreement_is_perfect_for_equal_surfaces_and_survives_holes():
    surface = made.make_surface()
    same = {"train": surface.values["train"], "held_out": {"loss": surface.values["train"]["loss"]}}
    _, rows = agreement_rows(replace(surface, values=same))
    assert rows == [["held-out loss", 1.0, 0.0, "100%"]]
    _, rows = agreement_rows(surface)
    assert [row[0] for row in rows] == ["held-out loss", "held-out error"]
    np.testing.assert_allclose(rows[0][2], 0.25)  # the lowest points lie at 1 and at 0.75
    nothing = {s: {"loss": np.full((13, 9), np.nan)} for s in ("train", "held_out")}
    _, rows = agreement_rows(replace(surface, values=nothing))
    assert rows == [["held-out loss", *["not finite"] * 3]]
    _, rows = surface_rows(replace(surface, values=nothing, standard_errors=nothing))
    assert rows[0][3] == "not finite"


def test_the_numbers_of_a_surface_are_those_of_its_formula():
    surface = made.make_surface()
    header, rows = surface_rows(surface)
    row = dict(zip(header, rows[0], strict=True))
    assert (row["alpha"], row["beta"]) == (1.0, 0.0)
    assert str(row["lowest"]).startswith("0.200")
    assert str(row["at the start"]).startswith("1.20")
    assert "of the map" in str(row["floor: area"])
    known = dict(plane_rows(made.adaptive(surface))[1])
    assert known["points"].startswith("35 of 117 measured")
    assert "0.031 nats" in known["how far that is off"]
    at = np.array([[1.0, 0.0], [0.125, 0.0], [9.0, 0.0]])
    heights = height_at(surface, surface.values["train"]["loss"], at)
    np.testing.assert_allclose(heights[:2], [0.2, 0.2 + (1 + 0.75**2) / 2])
    assert np.isnan(heights[2])


def test_checkpoints_stand_beside_the_height_of_the_plane():
    path, surface = made.make_trajectory(), made.make_surface()
    header, rows = trajectory_rows(path, surface)
    assert header[-1] == "train loss below"
    last = dict(zip(header, rows[-1], strict=True))
    assert (last["step"], last["alpha"], last["beta"]) == (500, "1.000", "0.000")
    assert last["train loss below"] == "0.200"
    away = replace(path, coordinates=path.coordinates * 9)
    assert trajectory_rows(away, surface)[1][-1][-1] == "outside"
    assert "train loss below" not in trajectory_rows(path)[0]
    # lengths 0.2 to 1 with shares of 0.48 to 0: the origin itself does not count
    assert "24% leads out of the plane in the mean, 48% at most (step 100)" in (
        off_plane_sentence(path)
    )
    paper = replace(path, projection="paper", axes=(made.AXES[0], BESIDE))
    assert "away from the first axis" in off_plane_sentence(paper)
    still = replace(path, lengths=np.zeros(6), off_plane=np.zeros(6))
    assert off_plane_sentence(still) == "No checkpoint has left the origin."
    near = replace(path, off_plane=np.full(6, 1e-4))
    assert "less than 1%" in off_plane_sentence(near)


def test_a_rollback_names_what_costs_most_and_least():
    told = " ".join(rollback_sentences(made.make_rollback()))
    assert "changes most with high (\u221235.0 points" in told
    assert "least with embeddings (+0.0 points" in told
    assert "with layer 3 (\u221215.0 points" in told
    header, rows = rollback_rows(made.make_rollback())
    assert len(rows) == 9
    assert dict(zip(header, rows[1], strict=True))["accuracy"] == "80.0%"
    forward = rollback_sentences(made.make_rollback(direction="forward"))
    assert "gets its fine-tuned weights" in forward[0]


@pytest.mark.parametrize(
    ("height", "error", "said"),
    [
        (0.5, 0.02, "there is a barrier"),
        (0.02, 0.02, "could make as much"),
        (0.0, np.nan, "no barrier"),
        (0.3, np.nan, "rises by up to 0.300"),
        (np.inf, np.nan, "different basins"),
    ],
)
def test_a_barrier_is_judged_by_its_error(height, error, said):
    result = made.make_barrier()
    heights = tuple(replace(h, height=height, standard_error=error) for h in result.heights)
    told = barrier_sentences(replace(result, heights=heights))
    assert len(told) == 2  # the losses of both splits, no errors
    assert said in told[0]


def test_flatness_has_a_row_for_every_measure():
    result = made.make_flatness()
    header, rows = flatness_rows(result)
    assert header == ("measure", "raw", "normalised")
    names = [row[0] for row in rows]
    assert "eigenvalue 2 of the Hessian (± residual)" in names
    assert rows[names.index("trace of the Hessian")][1] == "500\xa0±\xa040"
    rough = replace(result, raw=replace(result.raw, eigenvalues_converged=False, trace=None))
    _, rows = flatness_rows(rough)
    assert "not converged" in rows[names.index("eigenvalue 1 of the Hessian (± residual)")][1]
    assert rows[names.index("trace of the Hessian")][1] == "–"
    assert width_rows(result)[1][0] == [made.AXES[0], "-0.4 to 0.3: 0.7 wide", "3.15"]
    assert "or further" in width_rows(result)[1][1][1]


def test_numbers_are_written_with_their_digits_and_seldom_an_exponent():
    numbers = {0.0: "0", 0.19996: "0.200", 999.6: "1000", 7712.3: "7710", -0.05: "-0.0500"}
    for number, word in numbers.items():
        assert number_word(number, zeros=True) == word
    assert number_word(2.5e9) == "2.5e+09"
    assert number_word(901.2) == "901"
    assert number_word(float("inf")) == "not finite"
