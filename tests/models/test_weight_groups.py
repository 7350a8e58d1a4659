"""Every parameter of every family stands in exactly one group."""

import pytest
import torch

import families
from vesalius.core.errors import VesaliusError
from vesalius.models.specimen import Specimen, task_of
from vesalius.models.weight_groups import WeightGroups, weight_groups


def _groups(family: str) -> tuple[Specimen, WeightGroups]:
    model = families.make(family)
    specimen = Specimen(model=model, tokenizer=None, name=family, task=task_of(model))
    return specimen, weight_groups(specimen)


@pytest.mark.parametrize("family", families.FAMILIES)
def test_groups_cover_every_parameter_once(family: str):
    specimen, groups = _groups(family)
    names = [name for name, _ in specimen.model.named_parameters()]
    assert sorted((*groups.encoder, *groups.head)) == sorted(names)
    assert all(groups.layers)
    assert len(groups.layers) == len(specimen.parts.blocks)
    assert groups.embeddings


def test_bert_by_name():
    _, groups = _groups("bert")
    assert groups.embeddings[0] == "bert.embeddings.word_embeddings.weight"
    assert all(name.startswith("bert.encoder.layer.1.") for name in groups.named("layer 1"))
    assert all(name.startswith("cls.") for name in groups.head)
    assert groups.named("low") == groups.layers[0]
    assert groups.named("high") == groups.layers[2]
    assert set(groups.named("all")) == {*groups.encoder, *groups.head}


@pytest.mark.parametrize(
    ("count", "sizes"), [(2, {"low": 1, "high": 1}), (4, {"low": 1, "middle": 2, "high": 1}),
                         (24, {"low": 8, "middle": 8, "high": 8})]
)  # fmt: skip
def test_thirds(count: int, sizes: dict[str, int]):
    layers = tuple((f"block.{i}",) for i in range(count))
    groups = WeightGroups(embeddings=(), layers=layers, rest=(), head=())
    assert {name: len(found) for name, found in groups.thirds.items()} == sizes
    assert [n for found in groups.thirds.values() for n in found] == [n for (n,) in layers]


def test_the_first_layer_that_moves():
    groups = WeightGroups(embeddings=("e",), layers=(("a",), ("b",)), rest=("n",), head=("h",))
    assert groups.first_layer(["b", "h"]) == 1
    assert groups.first_layer(["e", "b"]) == 0
    assert groups.first_layer(["n"]) == 0
    assert groups.first_layer(["h"]) == 2


def test_an_unknown_group_is_named():
    with pytest.raises(VesaliusError, match="layer 0 to layer 2"):
        _groups("bert")[1].named("layer 7")


def test_quantised_weights_are_refused():
    specimen, _ = _groups("gpt2")
    weight = specimen.model.transformer.h[0].mlp.c_fc
    weight.weight = torch.nn.Parameter(weight.weight.to(torch.int8), requires_grad=False)
    with pytest.raises(VesaliusError, match="quantised"):
        weight_groups(specimen)
