"""Statistics of many facts: each number against its definition, saved, drawn, refused."""

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from located_rows import row, rows, save_sweep
from vesalius.core.errors import VesaliusError
from vesalius.core.result import load_result
from vesalius.methods.knowledge_neurons.corpus import Corpus, corpus_statistics, read_sets
from vesalius.methods.knowledge_neurons.corpus_report import plot_shared, relation_name
from vesalius.methods.knowledge_neurons.located import (
    CorpusConfig,
    LocatedCorpus,
    located_facts,
    read_located,
    refined_sets,
)
from vesalius.methods.knowledge_neurons.overlap import (
    across_relations,
    common_neurons,
    layer_counts,
    shared_neurons,
)

NEURON = st.tuples(st.integers(0, 2), st.integers(0, 3))
SETS = st.lists(st.lists(NEURON, max_size=4, unique=True).map(tuple), min_size=1, max_size=4)
GROUPS = st.dictionaries(st.sampled_from("abcd"), SETS, min_size=1)


def corpus(made=None, **options) -> LocatedCorpus:
    facts = located_facts(rows() if made is None else made)
    return LocatedCorpus(facts=facts, num_layers=5, model="tiny", model_fingerprint="abc")


@given(GROUPS)
def test_shared_neurons_are_the_mean_over_all_pairs(groups):
    shared = shared_neurons(groups)
    for (i, a), (j, b) in product(enumerate(groups.values()), repeat=2):
        pairs = list(combinations(a, 2)) if i == j else list(product(a, b))
        wanted = np.mean([len(set(x) & set(y)) for x, y in pairs]) if pairs else np.nan
        np.testing.assert_allclose(shared[i, j], wanted, rtol=1e-12)


@given(GROUPS)
def test_all_partners_are_every_fact_of_every_other_relation(groups):
    generator = np.random.default_rng(0)
    exact = across_relations(groups, num_partners=0, generator=generator)
    for place, (name, sets) in enumerate(groups.items()):
        others = [found for other, s in groups.items() if other != name for found in s]
        sizes = [len(set(x) & set(y)) for x, y in product(sets, others)]
        np.testing.assert_allclose(exact[place], np.mean(sizes) if sizes else np.nan, rtol=1e-12)
    enough = across_relations(groups, num_partners=100, generator=generator)
    np.testing.assert_array_equal(enough, exact)  # there are fewer than 100


def test_drawn_partners_are_near_all_of_them_and_seeded():
    random = np.random.default_rng(1)
    groups = {
        name: [
            tuple({(0, int(n)) for n in random.integers(12, size=4)}) for _ in range(200)
        ]
        for name in "ab"
    }  # fmt: skip
    exact = across_relations(groups, num_partners=0, generator=random)
    one, same, other = (
        across_relations(groups, num_partners=50, generator=np.random.default_rng(seed))
        for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()
    np.testing.assert_allclose(one, exact, rtol=0.05)


def test_layers_and_common_neurons_are_counted():
    groups = {"a": [((0, 1), (2, 2)), ((2, 3),)], "b": [()]}
    assert layer_counts(groups, num_layers=4).tolist() == [[1, 0, 2, 0], [0, 0, 0, 0]]
    sets = [((1, i % 3),) for i in range(30)] + [((0, 9),)]
    assert common_neurons(sets, share=0.1) == ((1, 0), (1, 1), (1, 2))
    assert (0, 9) in common_neurons(sets, share=1 / 31)
    assert common_neurons([(), ()], share=0.1) == ()


def test_the_share_is_one_for_a_relation():
    # alone, the first fact would keep its 9 neurons of three prompts at no share in the range
    many = [[f"0:{i}" for i in range(9)]] * 3 + [["0:0"]]
    made = [row("a", "P36", many), *[row(f"b{i}", "P36", [["1:1"]] * 4) for i in range(3)]]
    refined = refined_sets(located_facts(made), config=CorpusConfig(min_prompts=1))
    assert {found.share for found in refined} == {0.7}
    assert [len(found.neurons) for found in refined] == [9, 1, 1, 1]
    assert all(found.found for found in refined)  # 3 on average


def test_the_numbers_of_a_corpus():
    found = corpus_statistics(corpus())
    assert found.relations == ("P36", "P19", "P1376")
    assert found.num_facts.tolist() == [3, 3, 1]
    np.testing.assert_array_equal(found.attribution.size, [2, 2, 2])
    assert found.attribution.num_neurons.estimate == 2
    np.testing.assert_array_equal(np.diag(found.attribution.shared), [1, 1, np.nan])
    assert found.attribution.intra is not None
    assert found.attribution.intra.estimate == 1
    # "lone" shares 3:0 with the three facts of P36, of 6 facts that are not of its relation
    np.testing.assert_allclose(found.attribution.across, [1 / 4, 0, 3 / 6])
    assert found.attribution.layers.tolist() == [[0, 0, 3, 3, 0], [0, 0, 3, 3, 0], [0, 0, 0, 2, 0]]
    assert found.attribution.common[0] == ((3, 0), (2, 0), (2, 1), (2, 2))  # a third is > 10 %
    np.testing.assert_array_equal(found.activation.shared[0], [2, 2, 2])  # all the same
    assert "7 facts of 3 relations: 2.00 neurons per fact" in found.verdict
    table = found.to_table().to_pylist()
    assert table[0]["intra"] == 1
    assert table[0]["activation_intra"] == 2
    assert found.facts.num_rows == 7
    assert found.facts["neurons"][0].as_py() == ["2:0", "3:0"]


def test_facts_that_the_model_does_not_answer_are_left_out():
    made = rows()
    made[0]["answered"] = 0.49
    made[6]["answered"] = 0.0
    found = corpus_statistics(corpus(made))
    assert found.relations == ("P36", "P19")
    assert (found.num_facts.tolist(), found.num_unknown.tolist()) == ([2, 3], [1, 0])
    assert found.dropped == ("P1376",)
    everyone = corpus_statistics(corpus(made), config=CorpusConfig(min_answered=0.0))
    assert everyone.num_facts.tolist() == [3, 3, 1]


def test_a_search_without_end_is_said():
    made = [row(f"f{i}", "P36", [["0:0"]] * 4) for i in range(3)]
    found = corpus_statistics(corpus(made))
    assert not found.attribution.found.any()
    (warning,) = found.card.warnings
    assert "P36 (1.0 at" in warning
    assert found.attribution.inter is None
    assert "different relations" not in found.verdict


def test_a_corpus_comes_back_from_the_disk(tmp_path):
    found = corpus_statistics(corpus())
    again = load_result(found.save(tmp_path / "corpus"))
    assert isinstance(again, Corpus)
    assert again.to_table().equals(found.to_table())
    assert again.facts.equals(found.facts)
    assert again.attribution.common == found.attribution.common
    assert again.attribution.intra == found.attribution.intra
    np.testing.assert_array_equal(again.attribution.shared, found.attribution.shared)


def test_the_page_and_the_pictures(tmp_path):
    made = rows()
    made[0]["relation"] = "</script><b>"
    found = corpus_statistics(corpus(made))
    page = found.to_html(tmp_path / "page.html").read_text("utf-8")
    assert page.count("<img") == 2
    assert "</script><b>" not in page
    assert "P19 place of birth" in page
    assert found.verdict in page
    assert "://" not in page
    with pytest.raises(VesaliusError, match="exists"):
        found.to_html(tmp_path / "page.html")
    assert found.plot().get_xlabel() == "layer"
    assert [t.get_text() for t in plot_shared(found).texts][2] == "0"
    alone = corpus_statistics(corpus(rows()[:3]))
    assert alone.to_html(tmp_path / "alone.html").read_text("utf-8").count("<img") == 1


def test_long_names_of_relations_are_cut():
    assert relation_name("P36") == "P36 capital"
    assert relation_name("") == "(unnamed)"
    assert (
        relation_name("my own relation with a very long name") == "my own relation with a very l…"
    )


def test_the_folder_of_a_sweep_is_read_without_its_scores(tmp_path):
    made = [{**each, "num_layers": 6, "scores": [[0.0] * 4] * 6} for each in rows()]
    save_sweep(tmp_path / "sweep", made)
    located = read_located(tmp_path / "sweep")
    assert (located.num_layers, located.num_skipped) == (6, 1)
    assert (located.model, located.model_fingerprint) == ("tiny-bert", "f00")
    assert located.facts == located_facts(rows())
    found = corpus_statistics(tmp_path / "sweep")
    assert found.attribution.layers.shape == (3, 6)
    assert found.num_skipped == 1
    assert found.card.model_fingerprint == "f00"


def test_sets_are_read_by_name(tmp_path):
    save_sweep(tmp_path / "sweep", [{**each, "num_layers": 4} for each in rows()])
    sets = read_sets(tmp_path / "sweep", "P19")
    assert sets == {f"P19-{i}": ((2, 10 + i), (3, 1)) for i in range(3)}
    assert len(read_sets(tmp_path / "sweep")) == 7
    with pytest.raises(VesaliusError, match="P36, P19, P1376"):
        read_sets(tmp_path / "sweep", "P20")


def test_an_older_sweep_is_refused(tmp_path):
    save_sweep(tmp_path / "sweep", [{"name": "a", "neurons": ["0:1"]}])
    with pytest.raises(VesaliusError, match="without the column 'relation'"):
        read_located(tmp_path / "sweep")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": " "}, "row 1, column 'name': ' '"),
        ({"relation": None}, "column 'relation': None"),
        ({"answer": None}, "column 'answer': None"),
        ({"prob": "high"}, "column 'prob': 'high'"),
        ({"answered": 1.5}, "column 'answered': 1.5"),
        ({"answered": float("nan")}, "column 'answered': nan"),
        ({"coarse": []}, "column 'coarse': []"),
        ({"coarse": [["3-4"]] * 4}, "column 'coarse'"),
        ({"coarse": [[3]] * 4}, "column 'coarse'"),
        ({"activation_coarse": [["0:1"]]}, "1 sets"),
        ({"prompts": ["one"]}, "column 'prompts'"),
        ({"name": "P36-0"}, "rows 0 and 1"),
    ],
)
def test_faulty_rows_are_named(change, said):
    made = rows()
    made[1] |= change
    with pytest.raises(VesaliusError) as caught:
        located_facts(made)
    assert said in str(caught.value)


def test_no_rows_and_no_known_facts_are_refused():
    with pytest.raises(VesaliusError, match="at least one row"):
        located_facts([])
    with pytest.raises(VesaliusError, match="none of them answered"):
        corpus_statistics(corpus([row("a", "P36", [["0:1"]], answered=0.2)]))


@pytest.mark.parametrize(
    "options",
    [
        {"min_answered": -0.1},
        {"min_answered": "half"},
        {"share": 0.0},
        {"start_share": 2.0},
        {"relation_share": 0},
        {"num_partners": -1},
        {"min_prompts": 1.5},
        {"min_neurons": 6},
    ],
)
def test_options_without_meaning_are_refused(as_users_call_it, options):
    with pytest.raises(VesaliusError, match=next(iter(options))):
        CorpusConfig(**options)
