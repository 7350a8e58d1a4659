"""Targets, baselines, presets and selectors of `locate`, each against its plain meaning."""

import numpy as np
import pytest
import torch

import definition
import families
from helpers import assert_equal_numbers
from tiny import plant, tiny_masked_lm, word_tokenizer
from vesalius.core.errors import VesaliusError
from vesalius.methods.knowledge_neurons import LocateConfig, intervene, locate, suppress
from vesalius.methods.knowledge_neurons.config import locate_preset
from vesalius.methods.knowledge_neurons.intervene import probs_scaled
from vesalius.models.answers import answer_log_probs, encode_answers
from vesalius.models.batch import Batch
from vesalius.models.encoding import encode_prompts, one_token
from vesalius.models.objectives import token_objective
from vesalius.models.specimen import Specimen
from vesalius.numerics.quadrature import gauss_radau, left_riemann

PROMPTS = (
    "the capital of France is [MASK] .",
    "[MASK] is the capital of France .",
    "people speak of [MASK] , the capital of France .",
)
OTHERS = ("the capital of Italy is [MASK] .", "[MASK] is the city of Peru .", "one river is [MASK]")
RULE = gauss_radau(5)


@pytest.fixture(scope="module")
def planted() -> Specimen:
    specimen = tiny_masked_lm()
    plant(specimen, layer=2, neuron=7, answer="Paris", strength=1.5)
    return specimen


def tiny_causal() -> Specimen:
    model = families.make("llama")
    tokenizer = word_tokenizer()
    return Specimen(model=model, tokenizer=tokenizer, name="tiny-llama", task="causal-lm")


def plain_config(**options: object) -> LocateConfig:
    return LocateConfig(refine=False, **options)


def stacked(layers: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack(layers, dim=1)


def test_the_paper_preset_pads_to_128_and_is_the_definition(planted: Specimen) -> None:
    # the tiny model has 64 positions; 60 stand for the paper's 128
    config = locate_preset("paper", pad_to=60)
    batch = encode_prompts(planted, PROMPTS, pad_to=60)
    assert batch.inputs["input_ids"].shape == (3, 60)
    objective = token_objective(torch.full((3,), one_token(planted, "Paris")))
    wanted = definition.neuron_attributions(planted, batch, objective, left_riemann(20))
    found = locate(planted, PROMPTS, "Paris", config=config)
    assert_equal_numbers(torch.from_numpy(found.scores), stacked(wanted))
    assert locate_preset("paper").pad_to == 128
    assert (found.num_nodes == 20).all()


def test_a_preset_by_name_and_a_config_exclude_each_other(planted: Specimen) -> None:
    by_name = locate(planted, PROMPTS, "Paris", preset="activation")
    assert by_name.card.config["selector"] == "activation"
    with pytest.raises(VesaliusError, match="a config and preset='paper'"):
        locate(planted, PROMPTS, "Paris", config=LocateConfig(), preset="paper")
    with pytest.raises(VesaliusError, match="preset='nope'"):
        locate(planted, PROMPTS, "Paris", preset="nope")
    with pytest.raises(VesaliusError, match="preset 'paper' with color"):
        locate_preset("paper", color=3)


def test_the_activation_selector_takes_values_for_scores(planted: Specimen) -> None:
    found = locate(planted, PROMPTS, "Paris", preset="activation")
    for values, coarse in zip(found.activations, found.coarse, strict=True):
        wanted = {tuple(place) for place in np.argwhere(values >= 0.5 * values.max()).tolist()}
        assert set(coarse) == wanted
    by_score = locate(planted, PROMPTS, "Paris")
    np.testing.assert_array_equal(found.scores, by_score.scores)


def test_a_mean_baseline_is_the_line_from_the_mean(planted: Specimen) -> None:
    batch = encode_prompts(planted, PROMPTS)
    objective = token_objective(torch.full((3,), one_token(planted, "Paris")))
    values = definition.clean_neurons(planted, encode_prompts(planted, OTHERS))
    start = [layer.mean(0, keepdim=True).expand(3, -1) for layer in values]
    wanted = definition.neuron_attributions(planted, batch, objective, RULE, start=start)
    found = locate(
        planted, PROMPTS, "Paris", config=plain_config(baseline="mean", reference=OTHERS)
    )
    assert_equal_numbers(torch.from_numpy(found.scores), stacked(wanted))
    missed = found.scores.sum(2) - (found.end_value[:, None] - found.start_value)
    np.testing.assert_allclose(np.abs(missed), found.gap, atol=1e-6)


def test_a_uniform_baseline_averages_the_lines_from_each(planted: Specimen) -> None:
    batch = encode_prompts(planted, PROMPTS)
    objective = token_objective(torch.full((3,), one_token(planted, "Paris")))
    values = definition.clean_neurons(planted, encode_prompts(planted, OTHERS))
    lines = [
        stacked(
            definition.neuron_attributions(
                planted,
                batch,
                objective,
                RULE,
                start=[layer[i : i + 1].expand(3, -1) for layer in values],
            )
        )
        for i in range(len(OTHERS))
    ]
    config = plain_config(baseline="uniform", reference=OTHERS)
    found = locate(planted, PROMPTS, "Paris", config=config)
    assert_equal_numbers(torch.from_numpy(found.scores), torch.stack(lines).mean(0))
    assert found.num_nodes.shape == found.gap.shape == found.start_value.shape == (3, 3)


def forced_by_hand(specimen: Specimen, prompt: str, tokens: list[int], masks: bool) -> list[Batch]:
    """The inputs of every step, written out."""
    words = specimen.tokenizer
    steps: list[Batch] = []
    for number in range(len(tokens)):
        if masks:
            ids = words(prompt)["input_ids"]
            gap = ids.index(words.mask_token_id)
            open_gap = [*tokens[:number], *[words.mask_token_id] * (len(tokens) - number)]
            ids = [*ids[:gap], *open_gap, *ids[gap + 1 :]]
            row = gap + number
        else:
            text = prompt.partition("[MASK]")[0].rstrip()
            ids = [*words(text)["input_ids"][:-1], *tokens[:number]]  # without [SEP]
            row = len(ids) - 1
        steps.append(Batch(inputs={"input_ids": torch.tensor([ids])}, row=torch.tensor([row])))
    return steps


@pytest.mark.parametrize("kind", ["masked", "causal"])
def test_an_answer_of_several_tokens_is_the_sum_over_its_steps(
    planted: Specimen, kind: str
) -> None:
    specimen = planted if kind == "masked" else tiny_causal()
    prompts = ("the capital of France is [MASK]", "the seat of the government of France is [MASK]")
    answer = "the city Paris"
    tokens = specimen.tokenizer(answer, add_special_tokens=False)["input_ids"]
    assert len(tokens) == 3
    found = locate(
        specimen, prompts, answer, config=plain_config(target="sequence-log-probability")
    )
    for number, prompt in enumerate(prompts):
        total, value = torch.zeros(found.scores.shape[1:]), 0.0
        for token, batch in zip(
            tokens, forced_by_hand(specimen, prompt, tokens, kind == "masked"), strict=True
        ):
            objective = token_objective(torch.tensor([token]), kind="log-probability")
            layers = definition.neuron_attributions(specimen, batch, objective, RULE)
            total += stacked(layers)[0]
            value += definition._value(specimen, batch, objective).item()
        assert_equal_numbers(torch.from_numpy(found.scores[number]), total)
        assert found.end_value[number] == pytest.approx(value, rel=1e-5)
        assert found.prob[number] == pytest.approx(np.exp(value), rel=1e-4)
    down = suppress(
        specimen, prompts, answer, [(2, 7), (0, 3)], num_controls=2, several_tokens=True
    )
    np.testing.assert_allclose(down.prob_before, found.prob, rtol=1e-4)
    assert down.control_after.shape == (2, 2)


def test_several_tokens_are_refused_unless_asked_for(planted: Specimen) -> None:
    with pytest.raises(VesaliusError, match="sequence-log-probability"):
        locate(planted, PROMPTS, "city Paris")
    with pytest.raises(VesaliusError, match="cuts into"):
        intervene(planted, PROMPTS, "city Paris", [(0, 1)], factor=0.0)
    config = LocateConfig(target="sequence-log-probability")
    with pytest.raises(VesaliusError, match="does not know a piece"):
        locate(planted, PROMPTS, "city Oslo", config=config)
    with pytest.raises(VesaliusError, match="2 prompts and 1 answers"):
        encode_answers(planted, PROMPTS[:2], ["Paris"])


@pytest.mark.parametrize(
    "options",
    [
        {"baseline": "mean"},
        {"reference": OTHERS},
        {"baseline": "uniform", "reference": "one text"},
        {"baseline": "middle"},
        {"selector": "luck"},
        {"target": "luck"},
        {"pad_to": 0},
    ],
)
@pytest.mark.usefixtures("as_users_call_it")
def test_options_without_meaning_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(VesaliusError):
        LocateConfig(**options)


def test_padding_to_less_than_a_prompt_is_refused(planted: Specimen) -> None:
    with pytest.raises(VesaliusError, match="pad_to=4"):
        locate(planted, PROMPTS, "Paris", config=LocateConfig(pad_to=4))
    with pytest.raises(VesaliusError, match="at most 64 tokens"):
        locate(planted, PROMPTS, "Paris", preset="paper")


def test_many_sets_are_what_each_alone_is(planted: Specimen) -> None:
    steps = encode_answers(planted, PROMPTS, ["Paris"] * 3)
    sets = [[(2, 7)], [(1, 3), (2, 8)], [(0, 5)]]
    together = probs_scaled(planted, steps, sets, factor=[0.0, 2.0, 0.0])
    for found, neurons, factor in zip(together, sets, (0.0, 2.0, 0.0), strict=True):
        alone = intervene(planted, PROMPTS, "Paris", neurons, factor=factor, num_controls=0)
        np.testing.assert_allclose(found, alone.prob_after, rtol=1e-5)


def test_an_answer_behind_a_space_is_spelled_with_it(planted: Specimen) -> None:
    steps = encode_answers(planted, PROMPTS, ["Paris"] * 3)
    assert steps.is_plain
    log_probs = answer_log_probs(planted, steps)
    found = locate(planted, PROMPTS, "Paris")
    np.testing.assert_allclose(np.exp(log_probs.numpy()), found.prob, rtol=1e-5)
