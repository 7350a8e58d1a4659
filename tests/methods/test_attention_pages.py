"""Pages about attention: whole, with nothing from outside, and every text escaped."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest

from attention_tiny import PROMPTS, TEXTS, classifier, language_model
from vesalius.core.errors import VesaliusError
from vesalius.methods.attention_attribution import (
    AttributeConfig,
    Attributions,
    attribute,
    build_graph,
    build_tree,
    correlate_heads,
    faithfulness,
    head_importance,
    head_study,
    plot_correlation,
    plot_graph,
    plot_receptive_field,
    plot_tau_sweep,
    plot_tree,
    prune_curve,
    sweep_tau,
)
from vesalius.methods.attention_attribution.head_report import (
    write_faithfulness,
    write_heads,
    write_prune_curve,
)
from vesalius.methods.attention_attribution.report import write_attributions
from vesalius.models.token_words import TokenWords

QUICK = AttributeConfig(num_nodes=2, refine=False)
ODD = ("</script>", "<b>", "😀", "$x^$", "a&b", '"quoted"', "\\frac", "é\u202e")


@pytest.fixture(autouse=True)
def closed() -> Any:
    yield
    plt.close("all")


def with_odd_tokens(found: Attributions) -> Attributions:
    """The same numbers over tokens that a page could stumble over."""
    examples = []
    for example in found.examples:
        number = len(example.text.tokens)
        names = tuple(ODD[i % len(ODD)] for i in range(number))
        words = TokenWords(
            tokens=names, special=(False,) * number, word=tuple(range(number)), words=names
        )
        examples.append(replace(example, text=words, target="<b>yes</b>", predicted="</script>no"))
    card = replace(found.card, model="<i>model</i>", warnings=("<u>careful</u>",))
    return replace(found, examples=tuple(examples), card=card)


def check_page(text: str, *, pictures: int) -> None:
    """Raise unless a page carries all it shows, says what pictures show, and runs nothing."""
    assert text.startswith("<!doctype html>")
    loaded = re.findall(r"\b(?:src|href|action)\s*=\s*[\"']?([^\"'> ]*)", text)
    assert all(source.startswith("data:") for source in loaded)
    assert "http://" not in text
    assert "https://" not in text
    images = re.findall(r"<img [^>]*>", text)
    assert len(images) == pictures
    for image in images:
        found = re.search(r'alt="([^"]+)"', image)
        assert found, image
        assert len(found[1]) > 10
        assert 'src="data:image/' in image
    shown = re.sub(r"<img [^>]*>", "", text)
    assert not re.search(r"<(?:b|i|u|script)\b", shown)
    assert "</script>" not in shown


def test_the_check_finds_what_is_wrong() -> None:
    good = "<!doctype html><p>x</p>"
    check_page(good, pictures=0)
    for bad in (
        good + "<b>x</b>",
        good + "</script>",
        good + '<img src="data:image/png;base64,x">',
        good + '<img src="data:image/png;base64,x" alt="">',
        good + '<a href="x">',
        good + "see http://x",
        "<p>",
    ):
        with pytest.raises(AssertionError):
            check_page(bad, pictures=int("<img" in bad))


@pytest.mark.parametrize("kind", ["bert", "modernbert-mean", "bart"])
def test_a_page_about_odd_tokens(kind: str, tmp_path: Path) -> None:
    found = attribute(classifier(kind), TEXTS[:2], config=QUICK)
    odd = with_odd_tokens(found)
    path = odd.to_html(tmp_path / "page.html")
    text = path.read_text(encoding="utf-8")
    check_page(text, pictures=6)
    assert "&lt;b&gt;yes&lt;/b&gt;" in text
    assert "&lt;i&gt;model" in text
    assert "&lt;u&gt;careful" in text
    with pytest.raises(VesaliusError):
        odd.to_html(path)
    odd.to_html(path, force=True)


def test_pages_for_language_models_sparse_results_and_given_trees(tmp_path: Path) -> None:
    found = attribute(language_model(), PROMPTS, config=replace(QUICK, keep=3))
    links = [found.layer_links(i) for i in range(3)]
    trees = [build_tree(each, root="reader", rule="dag", tau=0.1) for each in links]
    graphs = [build_graph(each, per_layer=2) for each in links]
    path = write_attributions(found, tmp_path / "page.html", trees=trees, graphs=graphs)
    check_page(path.read_text(encoding="utf-8"), pictures=9)
    silent = replace(
        found,
        examples=tuple(
            replace(e, links=replace(e.links, score=0 * e.links.score))  # type: ignore[union-attr]
            for e in found.examples
        ),
    )
    check_page(silent.to_html(tmp_path / "flat.html").read_text("utf-8"), pictures=9)


def results() -> dict[str, Callable[[Path], Path]]:
    specimen = classifier()
    labels = [0, 2, 1, 0, 2]
    heads = head_importance(specimen, TEXTS, labels=labels, config=QUICK)
    curve = prune_curve(
        specimen, ["Paris is", "a a"], heads, labels=0, shares=(0.0, 0.5), num_random=1
    )
    taken = faithfulness(specimen, TEXTS, num_random=1, config=QUICK, shares=(0.0, 0.5, 1.0))
    names = {"model": "<i>model</i>", "warnings": ("<u>careful</u>",)}
    heads, curve, taken = (replace(r, card=replace(r.card, **names)) for r in (heads, curve, taken))
    for result in (heads, curve, taken, head_study(specimen, TEXTS, labels=labels, config=QUICK)):
        result.plot()
    return {
        "heads": lambda path: write_heads(heads, path),
        "curve": lambda path: write_prune_curve(curve, path),
        "faithfulness": lambda path: write_faithfulness(taken, path),
    }


def test_pages_about_heads_curves_and_faithfulness(tmp_path: Path) -> None:
    pictures = {"heads": 3, "curve": 1, "faithfulness": 2}
    for name, write in results().items():
        path = write(tmp_path / f"{name}.html")
        check_page(path.read_text(encoding="utf-8"), pictures=pictures[name])
        with pytest.raises(VesaliusError):
            write(path)


def test_every_picture_is_drawn() -> None:
    specimen = classifier()
    found = with_odd_tokens(attribute(specimen, TEXTS[:2], config=QUICK))
    links = [found.layer_links(i) for i in range(2)]
    for rule in ("score", "paper", "dag"):
        plot_tree(build_tree(links[0], rule=rule, tau=0), title="$odd").figure.canvas.draw()
    plot_graph(build_graph(links[0]), title="<b>").figure.canvas.draw()
    plot_tau_sweep(sweep_tau(links[1])).figure.canvas.draw()
    plot_receptive_field([build_tree(each) for each in links]).figure.canvas.draw()
    found.plot(example=1).figure.canvas.draw()
    heads = head_importance(specimen, TEXTS, labels=0, config=QUICK)
    other = replace(heads, values=heads.values[:, ::-1] * np.arange(1, 5).reshape(2, 2))
    alike = correlate_heads([heads, other], names=["$a", "b"])
    for kind in ("pearson", "spearman"):
        plot_correlation(alike, kind=kind).figure.canvas.draw()
    with pytest.raises(VesaliusError, match="kind='kendall'"):
        plot_correlation(alike, kind="kendall")
