"""The result of verify-variance: saved and loaded whole, laid out, drawn, and told on a page."""

from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.figure import Figure

from electra_toys import make_batches, make_objective, with_head
from vesalius.core.cite import cite
from vesalius.core.errors import VesaliusError
from vesalius.core.result import load_result
from vesalius.methods.electra.plot import plot_example, plot_variance
from vesalius.methods.electra.report import mean_rows, ratio_rows, variance_sentences
from vesalius.methods.electra.result import (
    GENERATOR,
    LOGIT,
    LOSS,
    OPTIMA,
    PARAMETERS,
    VarianceResult,
)
from vesalius.methods.electra.variance import verify_variance
from vesalius.numerics.statistics import bootstrap_interval

NASTY = """</script><b>x</b>' & $"""


class _Tokens:
    """Names tokens as unkindly as a stranger's tokenizer may."""

    def convert_ids_to_tokens(self, ids):
        return [f"{NASTY}{each}" for each in ids]


@pytest.fixture(scope="module")
def result() -> VarianceResult:
    objective = make_objective("modern", sampler="hardness-loss", head_spread=0.3)
    return verify_variance(
        objective,
        make_batches(),
        others={"other": with_head(objective, "hardness-distribution")},
        num_slots=9,
        num_gradient_slots=2,
        tokenizer=_Tokens(),
        name=NASTY,
    )


def _text(html: str) -> str:
    texts: list[str] = []

    class Reader(HTMLParser):
        def handle_data(self, data):
            texts.append(data)

        def handle_starttag(self, tag, attrs):
            assert tag != "b"  # what came from outside is text

    Reader().feed(html)
    return " ".join(" ".join(texts).split())


def test_it_comes_back_from_its_folder_as_it_was(result, tmp_path):
    loaded = load_result(result.save(tmp_path / "r"))
    assert isinstance(loaded, VarianceResult)
    np.testing.assert_array_equal(loaded.variances, result.variances)
    np.testing.assert_array_equal(loaded.example.probs, result.example.probs)
    assert loaded.ratios == result.ratios
    assert loaded.samplers == result.samplers
    assert loaded.example.tokens == result.example.tokens
    assert loaded.card == result.card
    assert loaded.card.config["options"]["sampler"] == "hardness-loss"
    assert "2106.13715" in cite(loaded)


def test_there_is_a_row_for_each_slot_and_sampler(result):
    table = result.to_table().to_pylist()
    assert len(table) == 9 * len(result.samplers)
    row = table[len(result.samplers) + 1]  # the second slot, the second sampler
    assert (row["slot"], row["sampler"]) == (result.slots[1], "hardness-loss")
    assert row["loss_variance"] == result.variances[0, 1, 1]
    assert row["mean_nats"] == result.means_nats[1, 1]
    assert row["prob_original"] == result.probs_original[1, 1]
    assert {"logit_gradient_variance", "parameter_gradient_variance"} < row.keys()


def test_ratios_are_those_of_the_slots(result):
    assert result.learned == ("hardness-loss", "other")
    for name in result.learned:
        ratios = result.variances[0, result.samplers.index(name)] / result.variances[0, 0]
        np.testing.assert_array_equal(result.slot_ratios(name), ratios)
        found = result.ratio(name)
        assert found.median.estimate == np.median(ratios)
        assert found.mean.estimate == pytest.approx(ratios.mean())
        total = (
            result.variances[0, result.samplers.index(name)].sum() / result.variances[0, 0].sum()
        )
        assert found.total.estimate == pytest.approx(total)
        assert found.quantiles == tuple(np.quantile(ratios, [0.1, 0.25, 0.75, 0.9]))
        assert found.num_slots == 9
        assert found.median.low <= found.median.estimate <= found.median.high
    assert result.ratio("other", PARAMETERS).num_slots == 2
    again = bootstrap_interval(
        result.slot_ratios("other"), generator=np.random.default_rng(1), statistic=np.median
    )
    assert again.estimate == result.ratio("other").median.estimate


@pytest.mark.parametrize(
    ("sampler", "quantity"), [("nobody", LOSS), ("other", "volume"), (GENERATOR, LOSS)]
)
def test_what_was_not_taken_is_refused(result, sampler, quantity):
    with pytest.raises(VesaliusError):
        result.ratio(sampler, quantity)


def test_a_slot_without_variance_has_no_ratio(result):
    still = result.variances.copy()
    still[:, :, 0] = 0.0
    changed = replace(result, variances=still)
    assert np.isnan(changed.slot_ratios("other")[0])
    assert np.isfinite(changed.slot_ratios("other")[1:]).all()


def test_a_mean_that_moved_is_an_alarm(result):
    assert not any("mean" in alarm for alarm in result.alarms())
    moved = result.means_nats.copy()
    moved[2, 4] *= 1.05
    changed = replace(result, means_nats=moved)
    assert changed.largest_bias == pytest.approx(0.05, rel=1e-4)
    assert any("5.00%" in alarm for alarm in changed.alarms())


def test_the_page_tells_what_came_out_and_escapes_all_text(result, tmp_path):
    path = result.to_html(tmp_path / "page.html")
    html = path.read_text("utf-8")
    text = _text(html)
    for sentence in variance_sentences(result):
        assert " ".join(sentence.split()) in text
    for alarm in result.alarms():
        assert alarm in text
    for section in ("What came out", "Is the mean kept?", "One slot in full", "How these numbers"):
        assert section in text
    assert "no sign of trouble" in text  # of a small effective share
    assert "http" not in html.replace("http-equiv", "")
    assert html.count("data:image/png") == 2
    assert "sampler=hardness-loss" in text
    with pytest.raises(VesaliusError, match=r"page\.html"):
        result.to_html(path)
    result.to_html(path, force=True)


def test_tables_have_what_the_page_promises(result):
    header, rows = ratio_rows(result)
    assert all(len(row) == len(header) for row in rows)
    assert [OPTIMA[LOSS], "0.00 (0.00\u00a0to\u00a00.00)"] == [rows[2][1], rows[2][3]]
    header, rows = mean_rows(result)
    assert [row[0] for row in rows] == list(result.samplers[:-1])  # the last at two slots alone
    assert all(row[1] == rows[0][1] for row in rows)  # the means are kept


def test_a_panel_for_each_quantity_with_all_learned_samplers_and_the_best(result):
    ax = plot_variance(result)
    panels = ax.figure.axes
    assert [panel.get_title() for panel in panels] == [LOSS, LOGIT, PARAMETERS]
    words = [[text.get_text() for text in panel.get_legend().get_texts()] for panel in panels]
    assert [len(each) for each in words] == [2, 3, 3]
    assert all(each[-1].startswith("best possible") for each in words[1:])
    median = result.ratio("other", LOGIT).median.estimate
    assert words[1][1] == f"other (median {median:.2f})"
    given = Figure().add_subplot()
    assert result.plot(ax=given) is given


def test_the_example_shows_the_original_first_and_level_values_under_the_best(result):
    example = result.example
    assert int(example.ids[0]) == int(result.originals[example.slot])
    best = result.samplers.index(OPTIMA[LOSS])
    np.testing.assert_allclose(example.weights[best] * example.nats, example.mean_nats)
    q = example.probs[0]
    for probs, weights in zip(example.probs[:-1], example.weights[:-1], strict=True):
        np.testing.assert_allclose(probs * weights, q)
    order = (q * example.nats)[1:]
    assert (np.diff(order) <= 0).all()
    ax = plot_example(result)
    assert ax.get_yticklabels()[0].get_text().endswith("(original)")


def test_a_pair_without_a_head_has_a_page_too(tmp_path):
    plain = verify_variance(make_objective(), make_batches(), num_slots=4)
    assert plain.learned == ()
    assert plain.largest_bias == 0
    assert plain.alarms() == ()
    text = _text(plain.to_html(tmp_path / "plain.html").read_text("utf-8"))
    assert "no learned sampler" in text
    assert [panel.get_title() for panel in plot_variance(plain).figure.axes] == [LOGIT]
    ids = tuple(map(str, plain.example.ids))
    assert plain.example.tokens == ids
    frozen = replace(plain, variances=np.zeros_like(plain.variances))
    with pytest.raises(VesaliusError, match="no variance"):
        plot_variance(frozen)
