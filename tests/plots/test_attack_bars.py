"""Bars of an attack and of scores: heights, lines, names as they stand."""

from vesalius.plots.attack_bars import AttackGroup, Bar, attack_bars
from vesalius.plots.score_bars import score_bars
from vesalius.plots.style import figure_bytes


def bar(name: str, value: float) -> Bar:
    return Bar(name=name, value=value, low=value - 0.1, high=value + 0.1)


def test_every_group_shows_clean_attacked_and_controls():
    groups = [
        AttackGroup(name="_cost in $ and more words than fit on a line", clean=bar("clean", 0.9),
                    attacked=bar("trigger", 0.2), controls=(bar("random", 0.8),)),
        AttackGroup(name="no controls", clean=bar("clean", 0.7), attacked=bar("trigger", 0.5),
                    controls=()),
    ]  # fmt: skip
    ax = attack_bars(groups, title="_title")
    assert [round(p.get_height(), 3) for p in ax.patches] == [0.9, 0.2, 0.8, 0.7, 0.5]
    assert [t.get_text() for t in ax.texts] == ["90%", "20%", "80%", "70%", "50%"]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["clean", "trigger", "random"]
    first = ax.get_xticklabels()[0].get_text()
    assert "\n" in first
    assert r"\$" in first
    assert figure_bytes(ax).startswith(b"\x89PNG")


def test_scores_lie_in_order_under_long_names():
    names = ["a" * 90, "b"]
    ax = score_bars(names, [0.5, 0.25], unit="score", title="t")
    assert [p.get_width() for p in ax.patches] == [0.5, 0.25]
    assert [t.get_text() for t in ax.get_yticklabels()] == names
    assert figure_bytes(ax).startswith(b"\x89PNG")
    assert score_bars([], []).get_xlabel() == "score"
    assert score_bars(["x"], [-1.0], ax=ax) is ax
    assert ax.texts[-1].get_text() == "-1"
