"""Hessian products against closed forms, and a model that comes back as it was."""

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import families
from vesalius.core.errors import VesaliusError
from vesalius.models.hessian import Batch, HessianProduct
from vesalius.numerics.curvature import top_eigenvalues, trace_estimate


class Quadratic(nn.Module):
    """Losses 0.5 t . A t + b_i . t of example i, over two weights that make up t, and a third."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.tensor([[0.5, -1.0], [2.0, 0.25]], dtype=torch.float64))
        self.vector = nn.Parameter(torch.tensor([1.5], dtype=torch.float64))
        self.unused = nn.Parameter(torch.zeros(2, dtype=torch.float64))
        square = torch.randn(5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        self.register_buffer("curve", square + square.T)

    def forward(self, slopes: Tensor) -> Tensor:
        t = torch.cat([self.matrix.reshape(-1), self.vector])
        return 0.5 * (t @ self.curve @ t) + slopes @ t


def quadratic_loss(model: nn.Module, batch: Batch) -> Tensor:
    return model(batch["slopes"])


def slopes(*sizes: int) -> list[Batch]:
    generator = torch.Generator().manual_seed(1)
    options = {"generator": generator, "dtype": torch.float64}
    return [{"slopes": torch.randn(size, 5, **options)} for size in sizes]


def test_a_quadratic_has_its_matrix_as_hessian():
    model, batches = Quadratic(), slopes(3, 1)
    product = HessianProduct(model, batches, quadratic_loss, ["matrix", "vector"])
    found = torch.stack([product(row) for row in torch.eye(5, dtype=torch.float64)])
    assert_close(found, model.curve)
    t = torch.cat([model.matrix.reshape(-1), model.vector]).detach()
    mean = torch.cat([batch["slopes"] for batch in batches]).mean(dim=0)
    assert_close(product.gradient(), model.curve @ t + mean)


def test_a_scale_multiplies_both_sides():
    model = Quadratic()
    scale = {name: weight.detach().abs() for name, weight in model.named_parameters()}
    product = HessianProduct(model, slopes(2), quadratic_loss, ["vector", "matrix"], scale)
    plain = HessianProduct(model, slopes(2), quadratic_loss, ["vector", "matrix"])
    t = torch.cat([scale["vector"], scale["matrix"].reshape(-1)])
    vector = torch.arange(1.0, 6.0, dtype=torch.float64)
    assert_close(product(vector), t * plain(t * vector))
    assert_close(product.gradient(), t * plain.gradient())


def test_weights_without_curvature_have_zeros():
    model = Quadratic()
    product = HessianProduct(model, slopes(2), quadratic_loss, ["unused", "vector"])
    vector = torch.ones(3, dtype=torch.float64)
    expected = torch.stack([vector[0] * 0, vector[0] * 0, model.curve[4, 4]])
    assert_close(product(vector), expected)
    assert_close(product.gradient()[:2], torch.zeros(2, dtype=torch.float64))
    linear = HessianProduct(
        nn.Linear(2, 1, bias=False), [{"x": torch.ones(3, 2)}],
        lambda model, batch: model(batch["x"])[:, 0], ["weight"],
    )  # fmt: skip
    assert_close(linear(torch.ones(2)), torch.zeros(2))
    assert_close(linear.gradient(), torch.ones(2))


def test_logistic_regression_has_its_known_hessian():
    """H = X^T diag(p (1 - p)) X / N, its top eigenvalue and its trace."""
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(40, 6, generator=generator)
    y = torch.randint(2, (40,), generator=generator).float()
    model = nn.Linear(6, 1, bias=False)

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        score = model(batch["x"])[:, 0]
        return nn.functional.binary_cross_entropy_with_logits(score, batch["y"], reduction="none")

    batches = [{"x": x[:25], "y": y[:25]}, {"x": x[25:], "y": y[25:]}]
    product = HessianProduct(model, batches, loss, ["weight"])
    prob = torch.sigmoid(x @ model.weight[0]).detach()
    hessian = (x.T * (prob * (1 - prob))) @ x / 40
    assert_close(torch.stack([product(row) for row in torch.eye(6)]), hessian)
    assert_close(product.gradient(), x.T @ (prob - y) / 40)
    top = top_eigenvalues(product, product.size, generator=generator)
    assert_close(top.values[0], torch.linalg.eigvalsh(hessian)[-1].item(), rtol=1e-4, atol=0)
    trace = trace_estimate(product, product.size, num_probes=400, generator=generator)
    assert abs(trace.trace - hessian.trace().item()) < 4 * trace.standard_error


def word_losses(model: nn.Module, batch: Batch) -> Tensor:
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    losses = nn.functional.cross_entropy(logits.mT, batch["input_ids"], reduction="none")
    return losses.mean(dim=1)


def words(*sizes: int) -> list[Batch]:
    generator = torch.Generator().manual_seed(3)
    ids = [torch.randint(3, families.VOCAB, (size, 5), generator=generator) for size in sizes]
    return [{"input_ids": i, "attention_mask": torch.ones_like(i)} for i in ids]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_transformers_products_are_slopes_of_its_gradient(attention: str):
    """Central differences of the gradient along v, in float64; embeddings are tied to the head."""
    model = families.make("bert").double().eval()
    model.set_attn_implementation(attention)
    names = [name for name, _ in model.named_parameters()]
    product = HessianProduct(model, words(2, 1), word_losses, names)
    generator = torch.Generator().manual_seed(4)
    vector = torch.randn(product.size, generator=generator, dtype=torch.float64)
    step, gradients = 1e-6, []
    for sign in (1, -1):
        with torch.no_grad():
            for name, part in product.weights(sign * step * vector).items():
                model.get_parameter(name).add_(part)
            gradients.append(product.gradient())
            for name, part in product.weights(-sign * step * vector).items():
                model.get_parameter(name).add_(part)
    expected = (gradients[0] - gradients[1]) / (2 * step)
    assert_close(product(vector), expected, rtol=1e-5, atol=1e-6)


def test_flat_vectors_and_weights_are_one_another():
    model = families.make("bert")
    names = [name for name, _ in model.named_parameters()][::-1]
    product = HessianProduct(model, words(1), word_losses, names)
    weights = {name: weight.detach() for name, weight in model.named_parameters()}
    vector = product.flat(weights)
    assert vector.shape == (product.size,)
    for name, part in product.weights(vector).items():
        assert_close(part, weights[name], rtol=0, atol=0)


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_comes_back_as_it_was(fails: bool):
    model = families.make("bert").train()
    model.cls.eval()
    frozen, moved = [name for name, _ in model.named_parameters()][1:3]
    model.get_parameter(frozen).requires_grad_(False)
    model.get_parameter(moved).grad = torch.ones_like(model.get_parameter(moved))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        assert not model.training
        assert torch.is_grad_enabled()
        if fails:
            raise RuntimeError("out of memory")
        return word_losses(model, batch)

    product = HessianProduct(model, words(2), loss, [frozen])
    with torch.no_grad():
        if fails:
            with pytest.raises(RuntimeError, match="out of memory"):
                product.gradient()
        else:
            product(torch.ones(product.size))
    assert model.training
    assert not model.cls.training
    for name, weight in model.named_parameters():
        assert weight.requires_grad == (name != frozen)
        assert (weight.grad is None) == (name != moved)
    assert_close(model.get_parameter(moved).grad, torch.ones_like(model.get_parameter(moved)))
    assert_close(model.state_dict(), before, rtol=0, atol=0)


def test_mistakes_are_named():
    model = Quadratic()
    scale = {"matrix": torch.ones(2, 2)}
    for batches, names, given_scale, message in (
        ([], ["matrix"], None, "0 batches"),
        (slopes(1), [], None, "0 names"),
        (slopes(1), ["curve"], None, "'curve'"),
        (slopes(1), ["vector", "vector"], None, "'vector'"),
        (slopes(1), ["matrix", "vector"], scale, "'vector'"),
    ):
        with pytest.raises(VesaliusError, match=message):
            HessianProduct(model, batches, quadratic_loss, names, given_scale)
