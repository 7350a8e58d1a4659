"""Draws in pieces equal the plain ones, and never hold a table of logits."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from helpers import assert_equal_numbers
from vesalius.methods.electra import pieces
from vesalius.methods.electra.config import ElectraOptions
from vesalius.methods.electra.fused import draw_replacements_fused
from vesalius.methods.electra.pieces import block_sums, draw_in_blocks
from vesalius.methods.electra.sampling import Draw, HeadScores, draw_replacements

SAMPLERS = ("generator", "hardness-loss", "hardness-distribution")
LEARNED = ("states", "table", "bias", "head_states", "head_bias")
NUMBERS = (
    "generator_loss",
    "log_weight",
    "predicted",
    "prob_original",
    "sampler_prob_original",
    "entropy_nats",
)


@pytest.fixture
def small_pieces(monkeypatch):
    """A few slots or tokens at a time, and never a size that divides."""
    monkeypatch.setattr(pieces, "CPU_LOGITS", 700)
    monkeypatch.setattr(pieces, "LEAST", 3)


def make_inputs(
    slots: int, vocab: int, *, width: int = 16, dtype: torch.dtype = torch.float32, seed: int = 0
) -> dict[str, Tensor]:
    """Return states, tables and draws of ordinary size, and coefficients for the losses."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    return {
        "states": normal(slots, width),
        "table": normal(vocab, width) / 2,
        "bias": normal(vocab),
        "head_states": normal(slots, width) / 2,
        "head_bias": normal(vocab) / 3,
        "originals": torch.randint(vocab, (slots,), generator=generator),
        "uniforms": torch.rand(slots, generator=generator, dtype=torch.float64),
        "above": normal(2, slots),
    }


def drawn(way: Any, inputs: dict[str, Tensor], options: ElectraOptions, **words: Any) -> Draw:
    """Draw by one of the two ways."""
    head = None
    if options.has_head:
        head = HeadScores(states=inputs["head_states"], bias=inputs["head_bias"])
    return way(
        *(inputs[name] for name in ("states", "table", "bias")),
        originals=inputs["originals"],
        uniforms=inputs["uniforms"],
        options=options,
        head=head,
        **words,
    )


def loss_of(draw: Draw, above: Tensor) -> Tensor:
    """Return a loss that gives every slot another gradient."""
    loss = (draw.generator_loss * above[0]).sum()
    return loss if draw.predicted is None else loss + (draw.predicted.square() * above[1]).sum()


def both(
    inputs: dict[str, Tensor], options: ElectraOptions, **words: Any
) -> list[tuple[Draw, dict[str, Tensor | None]]]:
    """Return draw and gradients of the plain way and of the fused one."""
    found = []
    for way in (draw_replacements, draw_replacements_fused):
        learned = {name: inputs[name].clone().requires_grad_() for name in LEARNED}
        draw = drawn(way, inputs | learned, options, **words)
        loss_of(draw, inputs["above"]).backward()
        found.append((draw, {name: tensor.grad for name, tensor in learned.items()}))
    return found


OPTIONS = [
    {"sampler": sampler, "exclude_original": exclude, "focal_gamma": gamma, "detach_head": detach}
    for sampler, exclude, gamma, detach in itertools.product(
        SAMPLERS, (False, True), (0.0, 1.5), (True, False)
    )
]


@pytest.mark.parametrize("vocab", [5, 128, 300, 1000])
@pytest.mark.parametrize("temperature", [1.0, 0.7, torch.tensor(1.3, dtype=torch.float64)])
@pytest.mark.usefixtures("small_pieces")
def test_pieces_equal_the_whole(vocab, temperature):
    for words in OPTIONS:
        inputs = make_inputs(19, vocab, seed=vocab)
        (plain, wanted), (fused, found) = both(
            inputs, ElectraOptions(**words), temperature=temperature
        )
        assert torch.equal(plain.candidates, fused.candidates)
        assert torch.equal(plain.is_first_choice, fused.is_first_choice)
        for name in NUMBERS:
            close(getattr(fused, name), getattr(plain, name))
        for name in LEARNED:
            close(found[name], wanted[name])


def close(found: Tensor | None, wanted: Tensor | None, tolerance: float = 1e-5) -> None:
    """Check that two agree to so much of the largest number, or of 1."""
    assert (found is None) == (wanted is None)
    if found is not None and wanted is not None and wanted.numel():
        assert found.dtype == wanted.dtype
        scale = max(1.0, wanted.abs().max().item())
        assert (found - wanted).abs().max().item() <= tolerance * scale


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("autocast", [False, True])
def test_the_usual_vocabulary(sampler, autocast):
    inputs = make_inputs(150, 30_522, width=32)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        (plain, wanted), (fused, found) = both(inputs, ElectraOptions(sampler=sampler))
    same = plain.candidates == fused.candidates
    assert int((~same).sum()) <= 3
    if not autocast:
        for slot in (~same).nonzero().flatten().tolist():
            assert distance_to_border(inputs, sampler, slot, fused.candidates[slot]) < 1e-6
    tolerance = 2e-2 if autocast else 1e-5
    for name in ("generator_loss", "prob_original", "entropy_nats"):
        close(getattr(fused, name), getattr(plain, name), tolerance)
    for name in ("states", "table", "bias"):
        relative = (found[name] - wanted[name]).norm() / wanted[name].norm()
        assert relative <= tolerance


def distance_to_border(inputs: dict[str, Tensor], sampler: str, slot: int, token: Tensor) -> float:
    """Return how far a uniform number is from where it would give the token, in probability."""
    chances = chances_of(inputs, ElectraOptions(sampler=sampler), slot=slot)[1].cumsum(0)
    low = chances[token - 1] if token else torch.zeros(())
    uniform = inputs["uniforms"][slot]
    return max((low - uniform).item(), (uniform - chances[token]).item(), 0.0)


def chances_of(
    inputs: dict[str, Tensor], options: ElectraOptions, *, slot: int, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Return q and p_S of a slot by their definitions, in double precision."""
    some = {name: inputs[name].double() for name in LEARNED}
    logits = (some["table"] @ some["states"][slot] + some["bias"]) / temperature
    scores = some["table"] @ some["head_states"][slot] + some["head_bias"]
    if options.exclude_original:
        logits[inputs["originals"][slot]] = -torch.inf
    base = logits.softmax(0)
    if options.sampler == "generator":
        return base, base
    if options.sampler == "hardness-loss":
        hardness = scores.exp().log1p() + options.hardness_floor
        return base, base * hardness / (base @ hardness)
    return base, (logits + scores).softmax(0)


@pytest.mark.parametrize("words", OPTIONS, ids=lambda words: "-".join(map(str, words.values())))
@pytest.mark.usefixtures("small_pieces")
def test_gradients_are_those_of_the_loss(words):
    inputs = make_inputs(4, 9, width=3, dtype=torch.float64)
    options = ElectraOptions(**words)

    def check(names: tuple[str, ...], field: str) -> None:
        def value(*learned: Tensor) -> Tensor:
            some = dict(zip(names, learned, strict=True))
            draw = drawn(draw_replacements_fused, inputs | some, options, temperature=0.8)
            return getattr(draw, field) * inputs["above"][0]

        torch.autograd.gradcheck(value, [inputs[name].clone().requires_grad_() for name in names])

    check(("states", "table", "bias"), "generator_loss")
    if options.has_head:
        check(("head_states", "head_bias"), "predicted")
    if options.sampler == "hardness-loss" and not options.detach_head:
        check(("table",), "predicted")  # in a distribution it also stands where it is held


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("exclude", [False, True])
@pytest.mark.usefixtures("small_pieces")
def test_draws_are_those_of_the_definition_in_double_precision(sampler, exclude):
    """Token by token: the first one at which the probabilities so far exceed the uniform number."""
    options = ElectraOptions(sampler=sampler, exclude_original=exclude)
    inputs = make_inputs(40, 300, dtype=torch.float64, seed=3)
    draw = drawn(draw_replacements_fused, inputs, options, temperature=1.2)
    for slot in range(40):
        base, chances = chances_of(inputs, options, slot=slot, temperature=1.2)
        so_far = itertools.accumulate(chances.tolist())
        uniform = inputs["uniforms"][slot]
        token = next(token for token, chance in enumerate(so_far) if chance > uniform)
        assert draw.candidates[slot] == token
        weight = (base[token] / chances[token]).log()
        assert draw.log_weight[slot] == pytest.approx(weight.item(), abs=1e-10)


def test_the_draw_is_exact():
    """Evenly spread uniform numbers hit each token in proportion, one more or less."""
    generator = torch.Generator().manual_seed(0)
    chances = torch.rand(1, 333, generator=generator).pow(4)
    chances[0, 100:250] = 0  # a block and more of nothing
    count = 20_000
    uniforms = ((torch.arange(count, dtype=torch.float64) + 0.5) / count)[:, None]
    values = chances.expand(count, -1)
    tokens = draw_in_blocks(values, block_sums(values), uniforms)
    hits = torch.bincount(tokens.squeeze(1), minlength=333).double()
    wanted = (chances / chances.sum()).squeeze(0).double() * count
    assert (hits - wanted).abs().max() <= 1.01
    assert not hits[100:250].any()


@pytest.mark.parametrize("uniform", [0.0, 0.5, 1 - 2.0**-53])
@pytest.mark.parametrize("vocab", [3, 128, 129, 400])
def test_no_draw_is_impossible(uniform, vocab):
    """Certain originals that are excluded, and logits out of all proportion."""
    inputs = make_inputs(6, vocab)
    inputs["uniforms"] = torch.full((6,), uniform, dtype=torch.float64)
    inputs["table"][:, 0] = 0
    inputs["bias"] = torch.full((vocab,), -1e4)
    inputs["bias"][[0, -1]] = 1e4
    inputs["originals"] = torch.tensor([0, 0, 0, vocab - 1, vocab - 1, vocab - 1])
    options = ElectraOptions(exclude_original=True)
    draw = drawn(draw_replacements_fused, inputs, options)
    assert draw.candidates.tolist() == [vocab - 1] * 3 + [0] * 3
    assert draw.sampler_prob_original.tolist() == [0.0] * 6


@pytest.mark.parametrize("sampler", SAMPLERS[1:])
def test_a_head_of_zeros_is_no_head(sampler):
    inputs = make_inputs(50, 700)
    inputs |= {"head_states": torch.zeros(50, 16), "head_bias": torch.zeros(700)}
    plain = drawn(draw_replacements_fused, inputs, ElectraOptions())
    fused = drawn(draw_replacements_fused, inputs, ElectraOptions(sampler=sampler))
    assert torch.equal(plain.candidates, fused.candidates)
    assert not fused.log_weight.any()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_no_slots(sampler):
    (plain, wanted), (fused, found) = both(make_inputs(0, 7), ElectraOptions(sampler=sampler))
    assert fused.candidates.shape == plain.candidates.shape == (0,)
    for name in LEARNED:
        close(found[name], wanted[name])


class _Watch(TorchDispatchMode):
    """Notes the largest tensor that an operation makes, and every operation by name."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = 0
        self.names: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self.names.add(func.overloadpacket.__name__)
        for one in result if isinstance(result, tuple | list) else [result]:
            if isinstance(one, Tensor):
                self.largest = max(self.largest, one.numel())
        return result


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_no_table_of_logits_and_no_waiting_for_a_number(sampler, monkeypatch):
    monkeypatch.setattr(pieces, "CPU_LOGITS", 20_000)
    inputs = make_inputs(500, 2000, width=8)
    learned = {name: inputs[name].clone().requires_grad_() for name in LEARNED}
    temperature = torch.tensor(1.1, dtype=torch.float64)
    options = ElectraOptions(sampler=sampler, focal_gamma=1.0, detach_head=False)
    with _Watch() as watch:
        draw = drawn(draw_replacements_fused, inputs | learned, options, temperature=temperature)
        loss_of(draw, inputs["above"]).backward()
    assert watch.largest <= 3 * 64 * 2000  # the room of three pieces of the least size
    assert not watch.names & {"_local_scalar_dense", "item", "nonzero", "masked_select"}


def test_the_watch_sees_what_it_should():
    with _Watch() as watch:
        torch.zeros(30).sum().item()
    assert watch.largest == 30
    assert "_local_scalar_dense" in watch.names


@pytest.mark.usefixtures("small_pieces")
def test_a_second_backward_gives_the_same_and_no_gradient_is_no_work():
    inputs = make_inputs(11, 90)
    learned = {name: inputs[name].clone().requires_grad_() for name in LEARNED}
    draw = drawn(
        draw_replacements_fused, inputs | learned, ElectraOptions(sampler="hardness-distribution")
    )
    loss = loss_of(draw, inputs["above"])
    tensors = list(learned.values())
    first = torch.autograd.grad(loss, tensors, retain_graph=True)
    for one, two in zip(first, torch.autograd.grad(loss, tensors, retain_graph=True), strict=True):
        assert_equal_numbers(two, one)
    assert draw.predicted is not None
    (none,) = torch.autograd.grad(
        draw.predicted.sum(), [learned["table"]], allow_unused=True, retain_graph=True
    )
    assert none is None or not none.any()
    with torch.no_grad():
        assert not drawn(
            draw_replacements_fused, inputs | learned, ElectraOptions()
        ).generator_loss.requires_grad
