"""Small models and losses whose landscapes are known in closed form."""

from collections.abc import Mapping

import numpy as np
import torch
import transformers as hf
from torch import Tensor, nn

from vesalius.methods.loss_landscape import Examples
from vesalius.models.specimen import Specimen, task_of

BERT = {
    "vocab_size": 40,
    "pad_token_id": 0,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 16,
    "num_labels": 3,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}


def classifier(seed: int = 0, **changes: int) -> Specimen:
    """A tiny random BERT with a head for three classes."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = hf.BertForSequenceClassification(hf.BertConfig(**{**BERT, **changes})).eval()
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.data.normal_(std=0.3)
    return Specimen(model=model, tokenizer=None, name="tiny", task=task_of(model))


def batches(num: int = 6, *, seed: int = 0, classes: int = 3) -> list[dict[str, Tensor]]:
    """Two batches of random tokens, one of them padded."""
    generator = torch.Generator().manual_seed(seed)
    made: list[dict[str, Tensor]] = []
    for length, padded in ((5, 0), (7, 2)):
        ids = torch.randint(1, 40, (num // 2, length), generator=generator)
        mask = torch.ones_like(ids)
        if padded:
            mask[0, -padded:] = 0
        labels = torch.randint(classes, (num // 2,), generator=generator)
        made.append({"input_ids": ids, "attention_mask": mask, "labels": labels})
    return made


def examples(num: int = 6) -> Examples:
    """Random tokens with random classes, for train and held-out data."""
    return Examples.of_batches({"train": batches(num), "held_out": batches(num, seed=1)})


def quadratic(names: Mapping[str, float] | None = None) -> Examples:
    """Two examples with the loss c_i (curvature / 2) |w|^2, c = 1 and 3, w all that is named.

    The error of both is 1 where |w| > 1.
    """
    curvatures = dict(names or {"bert.encoder.layer.0.output.dense.bias": 1.0})

    def measure(model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        squares = sum(
            curvature / 2 * model.get_parameter(name).square().sum()
            for name, curvature in curvatures.items()
        )
        length = sum(model.get_parameter(name).square().sum() for name in curvatures)
        loss = batch["factor"] * squares
        return {"loss": loss, "error": (length > 1).to(loss.dtype).expand(len(loss))}

    return Examples.of_batches({"train": [{"factor": torch.tensor([1.0, 3.0])}]}, measure=measure)


def bits(model: nn.Module) -> list[bytes]:
    """Every bit of a model."""
    return [np.asarray(t.detach().cpu()).tobytes() for t in model.state_dict().values()]
