"""What FSDP shares out and what it refuses; with processes it is tested in test_processes.py."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from training.test_loop import OPTIONS, _Batches, _model, assert_equal_weights
from vesalius.core.errors import VesaliusError
from vesalius.training.loop import train
from vesalius.training.spread import _blocks, _shard


class _Net(nn.Module):
    """Blocks of their own, a block that is tied to the embedding, and lists within lists."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 4)
        inner = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        self.own = nn.ModuleList([nn.Sequential(inner), nn.Linear(4, 4), nn.Dropout()])
        self.tied = nn.ModuleList([nn.Linear(4, 5, bias=False), nn.LayerNorm(4)])
        self.tied[0].weight = self.embedding.weight
        self.nested = nn.ModuleList([nn.ModuleList([nn.Linear(4, 4)])])
        twice = nn.Linear(4, 4)
        self.repeated = nn.ModuleList([twice, twice])


def test_blocks_are_the_outermost_that_share_nothing():
    net = _Net()
    names = {module: name for name, module in net.named_modules()}
    found = [names[block] for block in _blocks(net)]
    assert found == ["own.0", "own.1", "tied.1", "nested.0.0", "repeated.0"]


def test_a_parameter_without_a_dimension_is_named():
    net = nn.Linear(2, 2)
    net.scale = nn.Parameter(torch.ones(()))
    with pytest.raises(VesaliusError, match="the parameter 'scale' without a dimension"):
        _shard(net, device=torch.device("cpu"), count=2)


def test_one_process_has_the_whole_model_either_way(tmp_path):
    whole, alone = _model(), _model()
    train(whole, batches=_Batches(), options=OPTIONS, out=tmp_path / "a")
    options = replace(OPTIONS, parallel="fsdp")
    train(alone, batches=_Batches(), options=options, out=tmp_path / "b")
    assert_equal_weights(whole, alone)
