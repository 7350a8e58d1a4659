"""Replacements: draws are exact, weights keep every mean, the best sampler has no variance."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch.nn.functional import cross_entropy, softplus

from helpers import assert_equal_numbers
from vesalius.core.errors import VesaliusError
from vesalius.methods.electra.config import PRESETS, ElectraOptions, electra_preset
from vesalius.methods.electra.sampling import (
    HeadScores,
    base_logits,
    draw_from,
    draw_replacements,
    focal_loss,
    importance_weights,
    log_ratio,
    predicted_hardness,
)

VOCAB = 5


def _doubles(*sizes: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*sizes, generator=generator, dtype=torch.float64)


def _draw(num_slots=6, *, vocab=VOCAB, seed=0, head_spread=1.0, uniforms=None, originals=None,
          temperature=1.0, **options):  # fmt: skip
    """Draw from random states; the head's scores have the given spread."""
    torch.manual_seed(seed)
    states, table, bias = torch.randn(num_slots, 4), torch.randn(vocab, 4), torch.randn(vocab)
    chosen = ElectraOptions(**options)
    if originals is None:
        originals = torch.randint(vocab, (num_slots,))
    if uniforms is None:
        uniforms = torch.rand(num_slots, dtype=torch.float64)
    head = None
    if chosen.has_head:
        head = HeadScores(
            states=head_spread * torch.randn(num_slots, 4), bias=head_spread * torch.randn(vocab)
        )
    logits = states @ table.T + bias
    drawn = draw_replacements(
        states, table, bias, originals=originals, uniforms=uniforms, options=chosen, head=head,
        temperature=temperature,
    )  # fmt: skip
    return drawn, logits, originals


@given(seed=st.integers(0, 10_000))
def test_weights_keep_the_mean_under_any_sampler_and_the_best_has_no_variance(seed):
    logits, scores = _doubles(VOCAB, seed=seed), 2 * _doubles(VOCAB, seed=seed + 1)
    loss = _doubles(VOCAB, seed=seed + 2).exp()
    q, p = logits.softmax(-1), (logits + scores).softmax(-1)
    w, j = q / p, (q * loss).sum()
    assert_equal_numbers((p * w * loss).sum(), j)
    plain = (q * loss**2).sum() - j**2
    best = q * loss / j
    assert abs(float((best * (q / best * loss) ** 2).sum() - j**2)) <= 1e-12 * float(j**2)
    assert float((p * (w * loss) ** 2).sum()) >= float(j**2) * (1 - 1e-12)  # Cauchy-Schwarz
    assert plain >= -1e-12


def test_the_worked_example():
    """Of section 'Hardness as importance sampling' of paper.md."""
    q = torch.tensor([0.60, 0.40], dtype=torch.float64)
    loss = torch.tensor([0.03, 1.20], dtype=torch.float64)
    j = (q * loss).sum()
    best = q * loss / j
    w = q / best
    assert round(j.item(), 3) == 0.498
    assert round(((q * loss**2).sum() - j**2).item(), 3) == 0.329
    assert round(best[0].item(), 4) == 0.0361
    assert [round(x, 3) for x in w.tolist()] == [16.6, 0.415]
    assert round((best * w**2).sum().item(), 2) == 10.13
    assert round(1 / (best * w**2).sum().item(), 2) == 0.10  # the effective sample share


def test_the_gradient_of_the_distribution_head_is_that_of_the_cross_entropy():
    logits, loss = _doubles(VOCAB, seed=1), _doubles(VOCAB, seed=2).exp()
    scores = _doubles(VOCAB, seed=3).requires_grad_()
    q = logits.softmax(-1)
    log_p = (logits + scores).log_softmax(-1)
    p = log_p.exp().detach()
    each = -(q / p * loss) * log_p  # what a draw of each token gives
    (mean,) = torch.autograd.grad((p * each).sum(), scores, retain_graph=True)
    (wanted,) = torch.autograd.grad(-(q * loss * log_p).sum(), scores)
    assert_equal_numbers(mean, wanted)
    best = (q * loss).log() - logits
    at_best = best.clone().requires_grad_()
    log_p = (logits + at_best).log_softmax(-1)
    (slope,) = torch.autograd.grad(-(q * loss * log_p).sum(), at_best)
    assert slope.abs().max() < 1e-12


def test_the_loss_heads_fixed_point_is_the_loss():
    """The square of softplus + floor against the true loss is stationary where they agree."""
    options = ElectraOptions(sampler="hardness-loss")
    loss = torch.tensor([0.05, 0.7, 3.0], dtype=torch.float64)
    scores = (loss - options.hardness_floor).expm1().log().requires_grad_()
    predicted = predicted_hardness(scores, options=options)
    assert_equal_numbers(predicted, loss)
    (slope,) = torch.autograd.grad((predicted - loss).square().sum(), scores)
    assert slope.abs().max() < 1e-12


@pytest.mark.parametrize("sampler", ["hardness-loss", "hardness-distribution"])
def test_a_zero_head_changes_no_draw_and_no_weight(sampler):
    plain, _, _ = _draw(400)
    headed, _, _ = _draw(400, sampler=sampler, head_spread=0.0)
    assert torch.equal(headed.candidates, plain.candidates)
    assert torch.equal(headed.sampler_prob_original, plain.sampler_prob_original)
    assert torch.equal(headed.log_weight, torch.zeros(400))
    assert torch.equal(headed.generator_loss, plain.generator_loss)


def _frequencies(probs: torch.Tensor, *, num_draws: int = 1_000_000) -> torch.Tensor:
    uniforms = torch.rand(
        num_draws, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    drawn = draw_from(probs[None].expand(num_draws, -1), uniforms)
    return torch.bincount(drawn, minlength=len(probs))


def test_a_million_draws_have_the_probabilities_asked_for():
    probs = torch.tensor([0.31, 0.0, 0.09, 0.0, 0.2, 0.4, 0.0])
    counts = _frequencies(probs)
    possible = probs > 0
    assert not counts[~possible].any()
    expected = (probs[possible] * counts.sum()).double()
    expected *= counts.sum() / expected.sum()
    assert chisquare(counts[possible].numpy(), expected.numpy()).pvalue > 1e-3


@given(
    weights=st.lists(st.sampled_from([0.0, 1e-30, 1e-3, 0.3, 1.0]), min_size=1, max_size=12),
    uniform=st.floats(0, 1, exclude_max=True),
)
def test_no_draw_falls_outside_of_the_support(weights, uniform):
    probs = torch.tensor([*weights, 0.5, 0.0, 0.0])
    probs = probs / probs.sum()
    (drawn,) = draw_from(probs[None], torch.tensor([uniform], dtype=torch.float64)).tolist()
    assert probs[drawn] > 0
    before = probs.double().cumsum(0)
    assert before[drawn] - probs[drawn].double() <= uniform * before[-1] + 1e-15


@pytest.mark.parametrize("uniform", [0.0, 1 - 2**-53, 0.5])
def test_the_ends_of_the_uniforms_draw_what_can_be_drawn(uniform):
    probs = torch.tensor([[0.0, 0.5, 0.5, 0.0]])
    (drawn,) = draw_from(probs, torch.tensor([uniform], dtype=torch.float64)).tolist()
    assert drawn in (1, 2)


@pytest.mark.parametrize("exclude", [False, True])
@pytest.mark.parametrize("sampler", ["generator", "hardness-loss", "hardness-distribution"])
def test_candidates_and_weights_follow_the_distributions_that_are_written_down(sampler, exclude):
    """Evenly spaced uniforms at one slot give each token its share, up to one draw."""
    num = 2000
    torch.manual_seed(3)
    states, table, bias = torch.randn(4), torch.randn(VOCAB, 4), torch.randn(VOCAB)
    head_states, head_bias = torch.randn(4), torch.randn(VOCAB)
    options = ElectraOptions(sampler=sampler, exclude_original=exclude)
    head = None
    if options.has_head:
        head = HeadScores(states=head_states.expand(num, -1), bias=head_bias)
    drawn = draw_replacements(
        states.expand(num, -1), table, bias, originals=torch.full((num,), 2),
        uniforms=(torch.arange(num) + 0.5).double() / num, options=options, head=head,
        temperature=1.3,
    )  # fmt: skip
    q = ((table @ states + bias) / 1.3).exp()
    q[2] *= not exclude
    q /= q.sum()
    scores = table @ head_states + head_bias
    hardness = {
        "generator": torch.ones(VOCAB),
        "hardness-loss": softplus(scores) + 0.02,
        "hardness-distribution": scores.exp(),
    }[sampler]
    p = q * hardness / (q * hardness).sum()
    shares = torch.bincount(drawn.candidates, minlength=VOCAB) / num
    assert (shares - p).abs().max() <= 1.01 / num
    torch.testing.assert_close(drawn.log_weight.exp(), (q / p)[drawn.candidates])
    torch.testing.assert_close(drawn.sampler_prob_original, p[2].expand(num))
    plain = (table @ states + bias).softmax(-1)  # what is looked at has no temperature
    torch.testing.assert_close(drawn.prob_original, plain[2].expand(num))
    torch.testing.assert_close(drawn.entropy_nats, -(plain * plain.log()).sum().expand(num))
    assert bool(drawn.is_first_choice[0]) == (int(plain.argmax()) == 2)
    if sampler == "hardness-loss":
        torch.testing.assert_close(drawn.predicted, hardness[drawn.candidates])
    elif sampler == "hardness-distribution":
        torch.testing.assert_close(drawn.predicted, p.log()[drawn.candidates])
    else:
        assert drawn.predicted is None


def test_temperature_flattens_what_is_drawn_and_not_what_is_learned():
    uniforms = (torch.arange(2000) + 0.5).double() / 2000
    states, table, bias = torch.zeros(2000, 1), torch.zeros(2, 1), torch.tensor([0.0, 3.0])
    options = {"originals": torch.ones(2000, dtype=torch.int64), "uniforms": uniforms}
    cold, warm = (
        draw_replacements(states, table, bias, options=ElectraOptions(), temperature=t, **options)
        for t in (1.0, 3.0)
    )
    assert_equal_numbers(warm.generator_loss, cold.generator_loss)
    e = torch.tensor(1.0).exp()
    for drawn, share in ((cold, e**3 / (1 + e**3)), (warm, e / (1 + e))):
        assert abs(drawn.candidates.double().mean() - share) < 1e-3


@pytest.mark.parametrize("sampler", ["generator", "hardness-loss", "hardness-distribution"])
def test_an_excluded_original_is_never_drawn_and_still_learned(sampler):
    drawn, logits, originals = _draw(500, sampler=sampler, exclude_original=True)
    assert not (drawn.candidates == originals).any()
    assert torch.equal(drawn.sampler_prob_original, torch.zeros(500))
    assert torch.isfinite(drawn.log_weight).all()
    wanted = cross_entropy(logits, originals, reduction="none")
    assert_equal_numbers(drawn.generator_loss, wanted)


@given(log_prob=st.floats(-20, -1e-4), gamma=st.sampled_from([0.0, 0.5, 1.0, 2.0, 4.0]))
def test_focal_loss_has_the_gradient_of_the_closed_form(log_prob, gamma):
    p = torch.tensor(log_prob, dtype=torch.float64).exp()
    logits = torch.stack([p.log(), (1 - p).log()]).requires_grad_()
    (slope,) = torch.autograd.grad(focal_loss(logits.log_softmax(-1)[0], gamma=gamma), logits)
    wanted = gamma * p * (1 - p) ** gamma * p.log() - (1 - p) ** (gamma + 1)
    torch.testing.assert_close(slope[0], wanted, rtol=1e-7, atol=1e-12)


def test_focal_loss_without_gamma_is_cross_entropy_and_stays_finite_at_certainty():
    drawn, logits, originals = _draw(50)
    assert_equal_numbers(drawn.generator_loss, cross_entropy(logits, originals, reduction="none"))
    for gamma in (0.5, 1.0, 4.0):
        certain = torch.zeros((), requires_grad=True)
        loss = focal_loss(certain, gamma=gamma)
        (slope,) = torch.autograd.grad(loss, certain)
        assert loss.item() == 0
        assert torch.isfinite(slope)


MINIMISERS = {  # true probability -> the one that is best, for gamma 0, .5, 1, 2, 4
    0.60: (0.600, 0.574, 0.557, 0.538, 0.522),
    0.80: (0.800, 0.735, 0.686, 0.627, 0.575),
    0.90: (0.900, 0.833, 0.774, 0.694, 0.617),
    0.95: (0.950, 0.895, 0.838, 0.750, 0.655),
    0.99: (0.990, 0.964, 0.927, 0.846, 0.731),
}


def test_what_focal_loss_makes_of_a_true_probability():
    """With two tokens the loss is q f(p) + (1 - q) f(1 - p): its minimum on a fine grid."""
    p = torch.linspace(1e-5, 1 - 1e-5, 100_000, dtype=torch.float64)
    for q, wanted in MINIMISERS.items():
        for gamma, best in zip((0.0, 0.5, 1.0, 2.0, 4.0), wanted, strict=True):
            loss = q * focal_loss(p.log(), gamma=gamma)
            loss += (1 - q) * focal_loss((-p).log1p(), gamma=gamma)
            assert abs(p[loss.argmin()].item() - best) <= 1e-3


def test_weights_are_cut_normalised_or_switched_off():
    log_weight = torch.tensor([0.1, 1.0, 30.0, 0.5]).log().requires_grad_()
    cut = importance_weights(log_weight, options=ElectraOptions(max_weight=20.0))
    assert_equal_numbers(cut, torch.tensor([0.1, 1.0, 20.0, 0.5]))
    assert not cut.requires_grad
    even = importance_weights(log_weight, options=ElectraOptions(normalise_weights=True))
    assert_equal_numbers(even, cut / cut.mean())
    off = importance_weights(log_weight, options=ElectraOptions(importance_weights=False))
    assert torch.equal(off, torch.ones(4))


@given(scores=st.lists(st.floats(-50, 50, width=32), min_size=2, max_size=8))
def test_predicted_hardness_is_above_its_floor_which_bounds_the_weights(scores):
    options = ElectraOptions(sampler="hardness-loss", hardness_floor=0.05)
    scored = torch.tensor([scores], dtype=torch.float64)
    predicted = predicted_hardness(scored, options=options)
    assert (predicted >= 0.05).all()
    q = torch.full_like(scored, 1 / len(scores))
    p = (q.log() + log_ratio(scored, options=options)).softmax(-1)
    assert ((q / p) <= (q * predicted).sum() / 0.05 * (1 + 1e-9)).all()


def test_base_logits_are_those_of_the_generator_over_the_temperature():
    logits = torch.tensor([[1.0, 2.0, 3.0]])
    found = base_logits(logits, torch.tensor([1]), temperature=2.0, exclude=True)
    assert found.tolist() == [[0.5, -torch.inf, 1.5]]


def test_no_gradient_leaves_through_the_draw_and_the_heads_goes_to_the_head_alone():
    for sampler in ("hardness-loss", "hardness-distribution"):
        states, table, bias, head_states, head_bias = (
            torch.randn(*size, requires_grad=True) for size in ((3, 4), (5, 4), (5,), (3, 4), (5,))
        )
        drawn = draw_replacements(
            states, table, bias, originals=torch.tensor([0, 1, 2]),
            uniforms=torch.rand(3, dtype=torch.float64), options=ElectraOptions(sampler=sampler),
            head=HeadScores(states=head_states, bias=head_bias),
        )  # fmt: skip
        assert not drawn.log_weight.requires_grad
        assert drawn.predicted is not None
        slopes = torch.autograd.grad(
            drawn.predicted.sum(), [states, table, bias, head_states, head_bias],
            allow_unused=True,
        )  # fmt: skip
        assert slopes[:3] == (None, None, None)
        assert all(slope is not None and slope.any() for slope in slopes[3:])


@pytest.mark.parametrize(
    "wrong",
    [
        {"sampler": "gumbel"},
        {"hardness": "nats"},
        {"mask_prob": 0.0},
        {"mask_prob": 1.5},
        {"mask_token_prob": -0.1},
        {"temperature": 0.0},
        {"max_weight": 0.0},
        {"hardness_floor": 0.0},
        {"focal_gamma": -1.0},
        {"focal_gamma": float("nan")},
        {"discriminator_weight": float("inf")},
        {"final_temperature": -1.0},
    ],
    ids=str,
)
def test_options_that_cannot_be_are_refused(wrong, as_users_call_it):
    with pytest.raises(VesaliusError) as caught:
        ElectraOptions(**wrong)
    assert next(iter(wrong)) in str(caught.value)


def test_presets_are_the_arms_of_the_comparison():
    assert electra_preset("plain") == ElectraOptions()
    both = electra_preset("hardness+focal", focal_gamma=2.0)
    assert (both.sampler, both.focal_gamma, both.has_head) == ("hardness-loss", 2.0, True)
    assert not electra_preset("temperature").has_head
    assert {electra_preset(name).temperature for name in PRESETS} == {1.0, 1.3}
    warm = ElectraOptions(temperature=2.0, final_temperature=1.0)
    assert [warm.temperature_at(share) for share in (0.0, 0.5, 1.0)] == [2.0, 1.5, 1.0]
    assert ElectraOptions(temperature=2.0).temperature_at(0.7) == 2.0
