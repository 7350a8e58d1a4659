"""Axes point where they should, are as long as they should be, and a wrong source is named."""

import numpy as np
import pytest
import torch
import transformers as hf

from landscape_toys import BERT, classifier, examples, quadratic
from vesalius.core.errors import VesaliusError
from vesalius.methods.loss_landscape import make_frame
from vesalius.numerics.weight_directions import norm

BIAS = "bert.encoder.layer.0.output.dense.bias"


def test_the_axis_to_the_solution_starts_at_the_start_and_ends_at_the_model():
    specimen, start = classifier(0), classifier(1)
    frame = make_frame(specimen, ("solution",), start=start.model)
    assert frame.solution == (1.0,)
    assert not any(name.startswith(("classifier", "bert.pooler")) for name in frame.names)
    for name in frame.names:
        own, begin = specimen.model.get_parameter(name), start.model.get_parameter(name)
        torch.testing.assert_close(frame.origin[name], begin.detach(), rtol=0, atol=0)
        torch.testing.assert_close(frame.directions[0][name], (own - begin).detach())


def test_the_other_solution_is_rescaled_and_its_cosine_given():
    specimen = classifier(0)
    frame = make_frame(
        specimen, ("solution", "other"), start=classifier(1).model, other=classifier(2).model
    )
    first, second = frame.axes
    np.testing.assert_allclose(second.norm, first.norm, rtol=1e-6)
    a, b = (d.flat.double() for d in frame.directions)
    expected = float(a @ b / (a.norm() * b.norm()))
    np.testing.assert_allclose(frame.cosines[0, 1], expected, rtol=1e-6)


def test_another_head_does_not_matter_for_the_other_solution():
    other = hf.BertForSequenceClassification(hf.BertConfig(**{**BERT, "num_labels": 7}))
    frame = make_frame(classifier(0), ("solution", "other"), start=classifier(1).model, other=other)
    assert len(frame.axes) == 2


def test_beside_the_solution_a_random_axis_is_as_long():
    specimen = classifier(0)
    frame = make_frame(specimen, ("solution", "random"), start=classifier(1).model)
    np.testing.assert_allclose(frame.axes[1].norm, frame.axes[0].norm, rtol=1e-6)
    alone = make_frame(specimen, ("random", "random"))
    assert alone.solution == (0.0, 0.0)
    assert alone.axes[0].norm > 0.5 * norm(alone.origin)
    assert abs(alone.cosines[0, 1]) < 0.1


def test_seeds_draw_different_axes_and_the_same_one_again():
    specimen = classifier(0)
    prints = [make_frame(specimen, ("random",), seed=seed).fingerprint for seed in (0, 0, 1)]
    assert prints[0] == prints[1] != prints[2]


def test_principal_components_span_a_straight_path():
    specimen, start = classifier(0), classifier(1)
    points = []
    for share in (0.0, 0.4, 0.8):
        state = {
            name: own + (1 - share) * (start.model.state_dict()[name] - own)
            for name, own in specimen.model.state_dict().items()
            if own.is_floating_point()
        }
        points.append(state)
    frame = make_frame(specimen, ("pca",), checkpoints=points)
    straight = make_frame(specimen, ("solution",), start=start.model)
    a, b = frame.directions[0].flat.double(), straight.directions[0].flat.double()
    np.testing.assert_allclose(abs(float(a @ b)) / float(a.norm() * b.norm()), 1.0, rtol=1e-5)
    assert "100%" in frame.axes[0].name


def test_the_steepest_bowl_of_a_quadratic_is_its_stiffest_weight():
    stiff, soft = BIAS, "bert.encoder.layer.1.output.dense.bias"
    specimen = classifier(0)
    frame = make_frame(
        specimen, ("hessian",), examples=quadratic({stiff: 5.0, soft: 1.0}), moved="encoder"
    )
    assert "eigenvalue 10" in frame.axes[0].name  # two examples of weights 1 and 3
    share = norm({stiff: frame.directions[0][stiff]}) / frame.axes[0].norm
    np.testing.assert_allclose(share, 1.0, rtol=1e-3)


def test_the_gradient_of_a_quadratic():
    specimen = classifier(0)
    specimen.model.get_parameter(BIAS).data.copy_(torch.arange(16.0))
    frame = make_frame(specimen, ("gradient",), examples=quadratic())
    found = frame.directions[0][BIAS]
    expected = torch.arange(16.0) / torch.arange(16.0).norm()
    torch.testing.assert_close(found / found.norm(), expected, rtol=1e-5, atol=1e-6)


def test_a_group_moves_alone():
    frame = make_frame(classifier(0), ("solution",), start=classifier(1).model, moved="high")
    assert all(name.startswith("bert.encoder.layer.2.") for name in frame.names)


def test_one_axis_of_a_plane():
    frame = make_frame(classifier(0), ("solution", "random"), start=classifier(1).model)
    assert frame.along(0).solution == (1.0,)
    with pytest.raises(VesaliusError, match="does not lie"):
        frame.along(1)


@pytest.mark.parametrize(
    ("axes", "sources", "fault"),
    [
        (("solution",), {}, "without start"),
        (("solution", "other"), {"start": 1}, "without other"),
        (("solution",), {"start": 0}, "same weights"),
        (("solution", "other"), {"start": 1, "other": 0}, "two axes that are one"),
        (("solution", "other"), {"start": 1, "other": 1}, "same weights"),
        (("other",), {"start": 1, "other": 2}, "without axis 'solution'"),
        (("solution", "solution"), {"start": 1}, "one solution"),
        (("pca",), {}, "without checkpoints"),
        (("hessian",), {}, "without examples"),
        (("gradient",), {}, "without examples"),
        (("sideways",), {}, "one of solution"),
        ((), {}, "one axis, or two"),
        (("random", "random", "random"), {}, "one axis, or two"),
    ],
)
def test_axes_that_cannot_be_laid_are_refused(axes, sources, fault, as_users_call_it):
    models = {name: classifier(seed).model for name, seed in sources.items()}
    with pytest.raises(VesaliusError, match=fault):
        make_frame(classifier(0), axes, **models)


def test_a_checkpoint_of_another_shape_is_named():
    with pytest.raises(VesaliusError, match=r"layer\.0\.intermediate"):
        make_frame(classifier(0), ("solution",), start=classifier(1, intermediate_size=20).model)


def test_a_flat_loss_has_no_gradient():
    specimen = classifier(0)
    specimen.model.get_parameter(BIAS).data.zero_()
    with pytest.raises(VesaliusError, match="gradient"):
        make_frame(specimen, ("gradient",), examples=quadratic())


def test_frames_do_not_change_the_model():
    specimen = classifier(0)
    before = specimen.fingerprint
    make_frame(specimen, ("random", "hessian"), examples=examples())
    assert specimen.fingerprint == before
    assert all(p.grad is None and p.requires_grad for p in specimen.model.parameters())
