"""What the bundled classifier and the bundled causal model say in the demo."""

from vesalius.recipes.asides import KINDS, bundled_asides


def test_the_bundled_models_answer_rightly_and_show_it():
    asides = bundled_asides()
    assert [aside.label for aside in asides] == ["positive", "negative", "person", "place"]
    assert all(aside.prob > 1 / len(KINDS) for aside in asides)
    assert (
        asides[0].sentence
        == f"mini-classifier: {asides[0].text!r} is positive ({asides[0].prob:.2f})"
    )
