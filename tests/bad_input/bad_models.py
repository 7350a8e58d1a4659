"""Model folders with one thing wrong with each."""

import json
from collections.abc import Callable
from pathlib import Path

import torch
import transformers as hf
from torch import nn

from cli import tiny
from vesalius.models import Specimen


def nothing(folder: Path) -> None:
    """A folder with no configuration."""


def no_weights(folder: Path) -> None:
    tiny.masked_lm().config.save_pretrained(folder)


def only_a_pickle(folder: Path) -> None:
    no_weights(folder)
    (folder / "pytorch_model.bin").write_bytes(b"never opened")


def no_head(folder: Path) -> None:
    config = tiny.masked_lm().config
    tiny.save(hf.BertModel(config), folder)


def no_tokenizer(folder: Path) -> None:
    tiny.masked_lm().save_pretrained(folder)


def broken_weights(folder: Path) -> None:
    tiny.save(tiny.masked_lm(), folder)
    (folder / "model.safetensors").write_bytes(b"cut off in the middle")


def broken_config(folder: Path) -> None:
    tiny.save(tiny.masked_lm(), folder)
    (folder / "config.json").write_text("{cut off")


def not_a_number(folder: Path) -> None:
    model = tiny.masked_lm()
    next(iter(model.parameters())).data[0, 0] = torch.nan
    tiny.save(model, folder)


def own_code(folder: Path) -> None:
    no_weights(folder)
    own = {"model_type": "homemade", "auto_map": {"AutoModel": "modeling.Homemade"}}
    (folder / "config.json").write_text(json.dumps(own))
    (folder / "model.safetensors").write_bytes(b"never opened")
    (folder / "modeling.py").write_text("raise SystemExit('remote code ran')")


def experts(folder: Path) -> None:
    config = hf.MixtralConfig(
        vocab_size=len(tiny.tokenizer()),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        num_local_experts=2,
        max_position_embeddings=32,
    )
    tiny.save(hf.MixtralForCausalLM(config), folder)


def regression(folder: Path) -> None:
    tiny.save(tiny.classifier("score"), folder)


def single_texts(folder: Path) -> None:
    tiny.save(tiny.classifier("negative", "positive", num_texts=1), folder)


def other_weights(folder: Path) -> None:
    model = tiny.classifier("negative", "positive")
    next(iter(model.parameters())).data *= 2
    tiny.save(model, folder)


def grouped(folder: Path) -> None:
    """Four heads of queries, two of keys and values."""
    config = hf.LlamaConfig(
        vocab_size=len(tiny.tokenizer()),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=32,
    )
    tiny.save(tiny.seeded(hf.LlamaForCausalLM(config)), folder)


def images(folder: Path) -> None:
    config = hf.ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=24,
        image_size=8,
        patch_size=4,
    )
    hf.ViTForImageClassification(config).save_pretrained(folder)


def out_of_reach(folder: Path) -> None:
    """An architecture that the staircase does not climb."""
    config = hf.BloomConfig(vocab_size=len(tiny.tokenizer()), hidden_size=16, n_layer=2, n_head=2)
    tiny.save(tiny.seeded(hf.BloomForCausalLM(config)), folder)


FOLDERS: dict[str, Callable[[Path], None]] = {
    each.__name__: each
    for each in (nothing, no_weights, only_a_pickle, no_head, no_tokenizer, broken_weights,
                 broken_config, not_a_number, own_code, experts, regression, single_texts,
                 other_weights, grouped, images, out_of_reach)
}  # fmt: skip


def make(name: str, tmp_path: Path) -> Path:
    folder = tmp_path / name
    folder.mkdir()
    FOLDERS[name](folder)
    return folder


def without_seam() -> Specimen:
    """A classifier whose attention calls neither the registry nor a softmax."""
    model = tiny.classifier("negative", "positive")
    for layer in model.bert.encoder.layer:
        layer.attention.self = OwnAttention(layer.attention.self)
    return Specimen(model=model, tokenizer=tiny.tokenizer(), name="own", task="classifier")


class OwnAttention(nn.Module):
    def __init__(self, known: nn.Module) -> None:
        super().__init__()
        self.query, self.key, self.value = known.query, known.key, known.value

    def forward(
        self, hidden_states: torch.Tensor, *_: object, **__: object
    ) -> tuple[torch.Tensor, None]:
        scores = self.query(hidden_states) @ self.key(hidden_states).transpose(1, 2)
        weights = (scores - scores.amax(-1, keepdim=True)).exp()
        return weights / weights.sum(-1, keepdim=True) @ self.value(hidden_states), None


class Mixer(nn.Module):
    """What a block does with other rows, under a name without the word the finder looks for."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(8, 8)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.mix(hidden_states).softmax(-1)


class HomemadeBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mixer = Mixer()
        self.up = nn.Linear(8, 12)
        self.down = nn.Linear(12, 8)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        hidden_states = hidden_states + self.mixer(hidden_states)
        return hidden_states + self.down(self.up(hidden_states).relu())


class HomemadeForMaskedLM(nn.Module):
    """An architecture that no rule of the parts finder knows."""

    def __init__(self) -> None:
        super().__init__()
        self.config = hf.BertConfig(
            vocab_size=20, hidden_size=8, num_hidden_layers=2, num_attention_heads=2
        )
        self.config.model_type = "homemade"
        self.embed = nn.Embedding(20, 8)
        self.blocks = nn.ModuleList([HomemadeBlock(), HomemadeBlock()])


def homemade() -> Specimen:
    return Specimen(model=HomemadeForMaskedLM(), tokenizer=None, name="homemade", task="masked-lm")
