"""A model that is moved comes back bit for bit, and stands exactly where it is sent."""

import pytest
import torch
import transformers as hf
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import families
from vesalius.core.errors import VesaliusError
from vesalius.models import displaced as module
from vesalius.models.displaced import displaced
from vesalius.models.flat_weights import FlatWeights


def _weights(model: nn.Module, seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {n: torch.randn(p.shape, generator=generator) for n, p in model.named_parameters()}


def _bits(model: nn.Module) -> dict[str, bytes]:
    return {
        name: tensor.detach().reshape(-1).view(torch.uint8).numpy().tobytes()
        for name, tensor in model.state_dict().items()
    }


@given(alpha=st.floats(-4, 4, width=32), beta=st.floats(-4, 4, width=32))
def test_a_point_is_origin_plus_axes(alpha: float, beta: float):
    model = nn.Linear(3, 2)
    origin, first, second = (_weights(model, seed) for seed in range(3))
    with displaced(model, origin, [first, second]) as move:
        move((alpha, beta))
        for name, parameter in model.named_parameters():
            expected = (
                origin[name].double() + alpha * first[name].double() + beta * second[name].double()
            )
            torch.testing.assert_close(parameter.double(), expected, rtol=1e-6, atol=1e-5)


def test_origin_and_home_are_exact():
    model = nn.Linear(5, 4)
    begin = _weights(model, 0)
    axis = {n: p.detach() - begin[n] for n, p in model.named_parameters()}
    own = {name: parameter.data_ptr() for name, parameter in model.named_parameters()}
    with displaced(model, begin, [axis], home=(1.0,)) as move:
        move((0.0,))
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(parameter.detach(), begin[name], rtol=0, atol=0)
        move((1.0,))
        assert {n: p.data_ptr() for n, p in model.named_parameters()} == own


def test_the_model_is_itself_again_also_after_an_exception():
    model = families.make("bert")
    before, own = _bits(model), [p.data_ptr() for p in model.parameters()]
    frame = _weights(model, 1)

    def fail() -> None:
        with displaced(model, frame, [frame]) as move:
            move((2.0,))
            assert _bits(model) != before
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert _bits(model) == before
    assert [p.data_ptr() for p in model.parameters()] == own


def test_sums_over_blocks_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch):
    model = nn.Linear(33, 17)
    origin, axis = _weights(model, 0), _weights(model, 1)
    with displaced(model, origin, [axis]) as move:
        move((0.7,))
        whole = _bits(model)
    monkeypatch.setattr(module, "_BLOCK", 10)
    with displaced(model, origin, [axis]) as move:
        move((0.7,))
        assert _bits(model) == whole


def test_a_half_precision_model_is_rounded_once():
    model = nn.Linear(64, 64).bfloat16()
    origin = {n: p.detach().float() for n, p in model.named_parameters()}
    small = {n: torch.full_like(t, 1e-3) for n, t in origin.items()}
    with displaced(model, origin, [small, small]) as move:
        move((1.0, 1.0))  # a step at a time would lose both in the rounding of bfloat16
        for name, parameter in model.named_parameters():
            expected = (origin[name] + 1e-3 + 1e-3).bfloat16()
            torch.testing.assert_close(parameter.detach(), expected, rtol=0, atol=0)


def test_a_tied_tensor_moves_once_and_stays_tied():
    config = hf.GPT2Config(vocab_size=11, n_embd=8, n_layer=1, n_head=2, n_positions=8)
    model = hf.GPT2LMHeadModel(config)
    origin = _weights(model, 0)
    with displaced(model, origin, [origin]) as move:
        move((1.0,))
        embedding, head = model.transformer.wte.weight, model.lm_head.weight
        assert embedding.data_ptr() == head.data_ptr()
        expected = 2 * origin["transformer.wte.weight"]
        torch.testing.assert_close(head.detach(), expected)


def test_parameters_that_are_not_named_and_buffers_stay():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    before = _bits(model)
    origin = {"0.weight": torch.ones(2, 2)}
    with displaced(model, origin) as move:
        move(())
        now = _bits(model)
    assert [name for name in before if now[name] != before[name]] == ["0.weight"]
    assert {"1.running_mean", "1.num_batches_tracked"} <= before.keys()


def test_gradients_of_frozen_and_free_parameters_stay():
    model = nn.Linear(2, 1)
    model.bias.requires_grad_(False)
    model(torch.ones(1, 2)).sum().backward()
    gradient = model.weight.grad
    with displaced(model, _weights(model, 0)) as move:
        move(())
    assert model.weight.grad is gradient
    assert not model.bias.requires_grad


@pytest.mark.parametrize(
    ("origin", "fault"),
    [({"weight": torch.ones(3, 3)}, "shape"), ({"nobody": torch.ones(1)}, "no such parameter")],
)
def test_a_wrong_tensor_is_named(origin: dict[str, torch.Tensor], fault: str):
    with pytest.raises(VesaliusError, match=fault), displaced(nn.Linear(2, 2), origin):
        pass


def test_flat_weights_are_views_of_one_tensor():
    model = nn.Linear(3, 2)
    weights = _weights(model, 0)
    flat = FlatWeights.of(weights)
    assert FlatWeights.of(flat) is flat
    assert flat.flat.numel() == 8
    flat.flat.zero_()
    assert not flat["weight"].any()
    assert FlatWeights.of(weights, names=["bias"]).keys() == {"bias"}
