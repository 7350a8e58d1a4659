"""What the rows of the tables work with."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import nn

import vesalius
from bad_input import bad_models
from cli import tiny
from vesalius.data.bags import FactBag
from vesalius.methods import knowledge_neurons as kn
from vesalius.methods.attention_attribution import HeadImportance, LayerLinks, PruneCurve
from vesalius.methods.knowledge_neurons.edits import Edit
from vesalius.methods.knowledge_neurons.update import update
from vesalius.models import SlotEdit, Specimen, slots_edited
from vesalius.models import open as open_model

TEXT = "Paris is a city"
PROMPT = "The capital of France is [MASK]."


@dataclass(frozen=True, kw_only=True)
class Lab:
    """What the rows below work with."""

    bert: Specimen
    gpt: Specimen
    classifier: Specimen
    pairs: Specimen
    bert_folder: Path
    gpt_folder: Path
    tmp: Path

    def folder(self, name: str) -> Path:
        return bad_models.make(name, self.tmp)

    def file(self, name: str, text: str | bytes) -> Path:
        path = self.tmp / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def opened(self, name: str) -> Specimen:
        return open_model(self.folder(name))

    def heads(self) -> HeadImportance:
        return vesalius.attention.head_importance(self.classifier, [TEXT], baselines=())

    def links(self) -> LayerLinks:
        return vesalius.attention.attribute(self.classifier, [TEXT]).layer_links(0)

    def curve(self) -> PruneCurve:
        return vesalius.attention.prune_curve(
            self.classifier, ["Rome"], self.heads(), labels="negative", num_random=0
        )

    def located(self) -> kn.Location:
        return kn.locate(self.bert, PROMPT, "Paris")

    def turned(self) -> kn.Intervention:
        return kn.suppress(self.bert, PROMPT, "Paris", [(0, 1)], num_controls=1)

    def edited(self, method: str = "update") -> Edit:
        made = update(self.bert, PROMPT, "Paris", "Rome", [(0, 1)])
        return made if method == "update" else replace(made, method=method, new_answer="")

    def fact(self, coarse: tuple = (frozenset({(0, 1)}),)) -> kn.LocatedFact:
        return kn.LocatedFact(
            name="France", relation="P36", subject="France", answer="Paris", prompts=(PROMPT,),
            attribution=coarse, activation=coarse, prob=0.5, answered=1.0,
        )  # fmt: skip

    def case(self, new_answer: str = "Rome") -> FactBag:
        return FactBag(
            name="France", relation="P36", subject="France", answer="Paris", prompts=(PROMPT,),
            new_answer=new_answer,
        )  # fmt: skip

    def edit(self, layer: int, neurons: list[int], shape: tuple[int, ...], fill: float = 0) -> None:
        values = torch.full(shape, fill)
        edit = SlotEdit(neurons=torch.tensor(neurons), values=values)
        with slots_edited(self.bert, {layer: edit}):
            raise AssertionError("a wrong edit was let in")

    def quantised(self) -> None:
        model = tiny.masked_lm()
        layer = model.bert.encoder.layer[0].output.dense
        layer.weight = nn.Parameter(layer.weight.data.to(torch.int8), requires_grad=False)
        edit = SlotEdit(neurons=torch.tensor([0]), values=torch.zeros(1, 16))
        with slots_edited(replace(self.bert, model=model), {0: edit}):
            raise AssertionError("quantised weights were edited")

    def no_mask_token(self) -> Specimen:
        words = tiny.tokenizer()
        words.mask_token = None
        return replace(self.bert, tokenizer=words)


Call = Callable[[Lab], object]


@pytest.fixture(scope="session")
def specimens(
    bert_folder: Path, gpt_folder: Path, classifier_folder: Path, pair_folder: Path
) -> tuple[Specimen, ...]:
    folders = (bert_folder, gpt_folder, classifier_folder, pair_folder)
    return tuple(map(open_model, folders))


@pytest.fixture
def lab(
    tmp_path: Path,
    bert_folder: Path,
    gpt_folder: Path,
    specimens: tuple[Specimen, ...],
    as_users_call_it: None,
) -> Lab:
    return Lab(
        bert=specimens[0],
        gpt=specimens[1],
        classifier=specimens[2],
        pairs=specimens[3],
        bert_folder=bert_folder,
        gpt_folder=gpt_folder,
        tmp=tmp_path,
    )
