"""Attacks: a planted word flips its class, controls do not; numbers against a plain loop."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from helpers import assert_equal_numbers
from planted_trigger import MARKED, PLAIN, TRIGGER, WORDS, classifier, planted, random_lm
from vesalius.core.errors import VesaliusError
from vesalius.core.result import load_result
from vesalius.methods.attention_attribution.attack import attack
from vesalius.methods.attention_attribution.attack_controls import Vocabulary
from vesalius.methods.attention_attribution.attack_drops import class_drops, drop_difference
from vesalius.methods.attention_attribution.attack_reading import (
    text_perplexities,
    tokens_of,
    written_out,
)
from vesalius.methods.attention_attribution.attack_result import Attack
from vesalius.methods.attention_attribution.config import AttributeConfig
from vesalius.methods.attention_attribution.trigger_result import Trigger, Triggers
from vesalius.methods.attention_attribution.triggers import find_triggers
from vesalius.models.specimen import Specimen
from vesalius.plots.style import figure_bytes

ROUGH = AttributeConfig(refine=False)
TEXTS = (*PLAIN, *MARKED)
LABELS = ("plain",) * 6 + ("marked",) * 4


def found_on(specimen: Specimen, **options: Any) -> Triggers:
    return find_triggers(specimen, list(MARKED), config=ROUGH, **options)


@pytest.fixture(scope="module")
def flipped() -> Attack:
    specimen = planted()
    return attack(specimen, TEXTS, found_on(specimen), labels=LABELS, num_controls=4)


def test_the_planted_word_flips_its_class_and_random_words_do_not(flipped: Attack):
    assert flipped.triggers[0].tokens == (TRIGGER,)
    assert flipped.clean.tolist() == [0] * 6 + [1] * 4
    assert flipped.attacked[0].tolist() == [1] * 10
    assert flipped.accuracy(0).estimate == 1
    assert flipped.accuracy(0, 0).estimate == 0
    assert flipped.difference(0, 0).mean.estimate == -1
    assert flipped.flipped(0, 0) == 1
    assert flipped.flipped(1, 0) == 0
    for kind in ("random", "frequency"):
        held = flipped.compare(0, kind)
        assert held is not None
        assert (held.worst, held.drop, held.control_drop) == ("plain", 1, 0)
        assert held.beats
        assert (held.num_weaker, held.num_controls) == (4, 4)
    assert "from 100.0% to 0.0%" in flipped.verdict
    assert "beats them" in flipped.verdict
    assert flipped.card.warnings == ("4 of the texts are among those the triggers were found in",)


def test_controls_stand_at_the_triggers_places_and_are_words(flipped: Attack):
    kinds = {kind: [c for c in flipped.controls if c.kind == kind] for kind in flipped.kinds}
    assert {kind: len(found) for kind, found in kinds.items() if kind != "attention"} == {
        "random": 4,
        "frequency": 4,
    }
    assert all(len(c.tokens) == 1 and c.tokens[0].isalpha() for c in kinds["random"])
    assert all(TRIGGER not in c.tokens for kind in ("random", "frequency") for c in kinds[kind])
    more = attack(planted(), TEXTS, found_on(planted()), labels=LABELS, num_controls=6)
    again = [c for c in more.controls if c.kind == "random"]
    assert again[:4] == kinds["random"]  # the first ones stay


def test_frequency_controls_are_about_as_frequent():
    specimen = planted()
    tokens = tokens_of(specimen, list(TEXTS), None)
    vocabulary = Vocabulary(specimen, tokens)
    counts = np.bincount([i for ids in tokens.ids for i in ids], minlength=len(WORDS))
    rome, the = WORDS.index(TRIGGER), WORDS.index("the")
    one = found_on(specimen).triggers[0]
    assert counts[rome] == 4
    alike = vocabulary.alike(rome, one)
    assert alike == [i for i in range(5, len(WORDS)) if 4 <= counts[i] <= 7 and i != rome]
    assert counts[the] >= 8
    assert set(vocabulary.words).isdisjoint(range(7))  # no special tokens, no signs
    # no other token as frequent: the nearest class that has any
    alone = Vocabulary(specimen, tokens.select([0]))
    alone.frequency[rome] = 9
    highest = max(f for i, f in alone.frequency.items() if i != rome)
    assert alone.alike(rome, one) == [
        i for i, f in alone.frequency.items() if f == highest and i != rome
    ]


def test_numbers_are_those_of_a_plain_loop():
    specimen = classifier(layers=2)
    triggers = found_on(specimen, min_score=0.0)
    found = attack(
        specimen, TEXTS, triggers, labels=LABELS, num_triggers=2, num_controls=2, memory="1MiB"
    )
    rows = found.to_table().to_pylist()
    for number, trigger in enumerate(found.triggers):
        said: list[int] = []
        for text in TEXTS:
            ids = specimen.tokenizer(text)["input_ids"]
            body, total, last = list(ids[1:-1]), len(ids) - 2 + len(trigger.ids), 0
            for token, place in zip(trigger.ids, trigger.relative, strict=True):
                last = max(last + 1, round(total * place))
                body.insert(min(last, total) - 1, token)
            with torch.no_grad():
                logits = specimen.model(torch.tensor([[ids[0], *body, ids[-1]]])).logits
            said.append(int(logits.argmax()))
        assert found.attacked[number].tolist() == said
        for label in (0, 1):
            here = [i for i, name in enumerate(LABELS) if name == found.class_names[label]]
            right = [said[i] == label for i in here]
            row = next(r for r in rows if r["trigger"] == number + 1
                       and r["class"] == found.class_names[label])  # fmt: skip
            assert row["attacked"] == pytest.approx(sum(right) / len(here))
            clean = [found.clean[i] == label for i in here]
            assert row["clean"] == pytest.approx(sum(clean) / len(here))
            gone = [c and not r for c, r in zip(clean, right, strict=True)]
            assert row["flipped"] == pytest.approx(sum(gone) / max(sum(clean), 1))


def test_drops_are_judged_in_each_sets_own_worst_class():
    gold = np.array([0, 0, 0, 0, 1, 1])
    before = np.array([True] * 6)
    trigger = np.array([False, False, False, True, True, True])  # class 0: -3/4
    controls = np.array([[True] * 6, [True] * 4 + [False, True]])  # nothing; class 1: -1/2
    drops = class_drops(before, np.concatenate((trigger[None], controls)), gold)
    assert_equal_numbers(drops, np.array([[0.75, 0.0], [0.0, 0.0], [0.0, 0.5]]))
    held = drop_difference(before, trigger, controls, gold, generator=np.random.default_rng(0))
    assert held.estimate == pytest.approx(0.75 - 0.25)
    assert held.low < held.estimate < held.high
    same = drop_difference(before, trigger, trigger[None], gold,
                           generator=np.random.default_rng(0))  # fmt: skip
    assert (same.estimate, same.low, same.high) == (0, 0, 0)


class Counted:
    """A tokenizer that counts how often it is asked to cut texts."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer, self.calls = tokenizer, 0

    def __call__(self, *args: Any, **options: Any) -> Any:
        self.calls += 1
        return self.tokenizer(*args, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tokenizer, name)


def test_texts_are_tokenised_once_however_many_triggers_there_are():
    specimen = planted()
    triggers = found_on(classifier(layers=2), min_score=0.0)
    counts: list[int] = []
    for number, controls in ((1, 1), (3, 5)):
        counted = Counted(specimen.tokenizer)
        watched = replace(specimen, tokenizer=counted)
        attack(watched, TEXTS, triggers, labels=LABELS, num_triggers=number, num_controls=controls)
        counts.append(counted.calls)
    assert counts == [2, 2]  # once to count what is too long, once to cut


def test_memory_and_other_texts_change_nothing():
    specimen = classifier(layers=2)
    triggers = found_on(specimen, min_score=0.0)
    whole = attack(specimen, TEXTS, triggers, labels=LABELS, num_controls=2, seed=3)
    tight = attack(specimen, TEXTS, triggers, labels=LABELS, num_controls=2, seed=3, memory="1KiB")
    assert (whole.controlled == tight.controlled).all()
    assert (whole.attacked == tight.attacked).all()
    assert whole.verdict == tight.verdict
    part = attack(specimen, TEXTS[:3], triggers, labels=LABELS[:3], controls=())
    assert (part.attacked == whole.attacked[:, :3]).all()
    assert part.controls == ()
    assert "no controls were taken" in part.verdict


def test_long_texts_are_cut_and_told():
    specimen = planted(positions=10)
    found = attack(specimen, TEXTS, found_on(planted()), labels=LABELS, controls=("random",))
    assert found.attacked[0].tolist() == [1] * 10  # the trigger is never what goes
    assert any("longer than the model" in w for w in found.card.warnings)
    assert any("cut to make room" in w for w in found.card.warnings)


def test_transfer_matches_classes_by_name(tmp_path: Path):
    specimen, other = planted(), planted()
    other = replace(other, name="other")
    model: Any = other.model
    with torch.no_grad():  # the same decisions, classes in another order
        for each in (model.classifier.weight, model.classifier.bias):
            each.copy_(each.flip(0).clone())
    model.config.id2label = {0: "MARKED", 1: "plain"}
    found = attack(
        specimen, TEXTS, found_on(specimen), labels=LABELS, num_controls=2, transfer=other,
        language_model=random_lm(),
    )  # fmt: skip
    assert found.transfer is not None
    assert found.fluency is not None
    assert (found.transfer.clean == found.clean).all()
    assert (found.transfer.attacked == found.attacked).all()
    held = found.compare_transfer(0)
    assert held is not None
    assert (held.drop, held.control_drop) == (1, 0)
    row = found.to_table().to_pylist()[0]
    assert (row["transfer_clean"], row["transfer_attacked"]) == (1, 0)
    assert "random, on other" in found.to_summary()["control"].to_pylist()
    found.save(tmp_path / "attack")
    assert load_result(tmp_path / "attack").to_dict() == found.to_dict()
    page = found.to_html(tmp_path / "page.html").read_text("utf-8")
    assert found.verdict.replace("“", "“") in page
    assert "Would a reader notice?" in page
    assert figure_bytes(found.plot()).startswith(b"\x89PNG")


def test_perplexities_are_exp_of_the_mean_surprise():
    specimen, model = planted(), random_lm()
    tokens = tokens_of(specimen, list(TEXTS[:4]), None)
    assert written_out(specimen, tokens) == (TEXTS[:4], None)
    found = text_perplexities(specimen, model, tokens, memory_bytes=1)
    for text, perplexity in zip(TEXTS[:4], found, strict=True):
        ids = torch.tensor([model.tokenizer(text)["input_ids"]])  # [CLS] text [SEP]
        with torch.no_grad():
            logs = model.model(ids).logits[0].log_softmax(-1)
        surprise = [-logs[i - 1, ids[0, i]].item() for i in range(1, ids.shape[1] - 1)]
        assert perplexity == pytest.approx(np.exp(np.mean(surprise)), rel=1e-5)
    together = text_perplexities(specimen, model, tokens, memory_bytes=1 << 30)
    np.testing.assert_allclose(together, found, rtol=1e-5)


def test_pairs_are_attacked_in_the_part_they_came_from():
    specimen = planted()
    firsts, seconds = ["Paris is a city", "a river"], ["Lima is in Rome", "Rome ."]
    triggers = find_triggers(specimen, firsts, pairs=seconds, config=ROUGH)
    assert triggers.triggers[0].owners == (1,)
    found = attack(
        specimen, ["the city", "a river"], triggers, pairs=["of Peru", "in Spain"],
        labels="plain", num_controls=2, language_model=random_lm(),
    )  # fmt: skip
    assert found.attacked[0].tolist() == [1, 1]
    with pytest.raises(VesaliusError, match="tokens of second texts"):
        attack(specimen, ["the city"], triggers, labels="plain")


def refused(call: Any, *words: str) -> None:
    with pytest.raises(VesaliusError) as caught:
        call()
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_bad_input_is_refused(flipped: Attack):
    specimen = planted()
    found = found_on(specimen)

    def run(**options: Any) -> Attack:
        return attack(specimen, TEXTS, found, **{"labels": LABELS, **options})

    refused(lambda: run(labels=["plain"] * 3), "3 labels for 10 texts")
    refused(lambda: run(labels="other"), "class 'other'")
    refused(lambda: run(num_triggers=0), "num_triggers=0")
    refused(lambda: run(num_controls=0), "num_controls=0")
    refused(lambda: run(controls=("shuffled",)), "shuffled")
    refused(lambda: run(controls="random"), "a list of kinds")
    refused(lambda: run(transfer=classifier(names=("plain", "odd"))), "plain, odd")
    refused(lambda: run(transfer=random_lm()), "causal-lm")
    refused(lambda: run(language_model=specimen), "for the perplexity")
    refused(lambda: attack(random_lm(), TEXTS, found, labels=LABELS), "classifier of texts")
    none = replace(found, triggers=())
    refused(lambda: attack(specimen, TEXTS, none, labels=LABELS), "no triggers")
    strange = replace(found.triggers[0], tokens=("Roma",))
    mixed = replace(found, triggers=(strange,))
    refused(lambda: attack(specimen, TEXTS, mixed, labels=LABELS), "the same tokenizer")
    far: Trigger = replace(found.triggers[0], ids=(5000,))
    refused(
        lambda: attack(specimen, TEXTS, replace(found, triggers=(far,)), labels=LABELS),
        "the same tokenizer",
    )
    refused(lambda: flipped.accuracy(7), "class 7")
    refused(lambda: flipped.compare(9), "trigger 9")


def test_triggers_by_attention_bring_no_control_by_attention():
    specimen = planted()
    found = attack(specimen, TEXTS, found_on(specimen, by="attention"), labels=LABELS,
                   num_controls=2)  # fmt: skip
    assert found.kinds == ("random", "frequency")
    assert any("no control by attention" in warning for warning in found.card.warnings)
