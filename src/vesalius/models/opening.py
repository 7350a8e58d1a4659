"""Open any Transformer: a hub name, a local folder, a bundled model, or a live one."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vesalius.core.errors import VesaliusError
from vesalius.models.linear import is_finite
from vesalius.models.pruned import KEPT_HEADS, pruned_class
from vesalius.models.specimen import Specimen, Task, task_of

PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "model.pt", "model.pth")
_DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def open(
    source: str | Path | nn.Module,
    *,
    tokenizer: Any = None,
    task: Task | None = None,
    dtype: str | torch.dtype = "float32",
    device: str | torch.device = "cpu",
    revision: str = "main",
) -> Specimen:
    """Open a Transformer for looking inside.

    Args:
        source: a name on the hub, a local folder, a name from ``vesalius.zoo``, or a live model
            (PEFT-wrapped ones too), which is used as it is: dtype and device are its own.
        tokenizer: the tokenizer of a live model.
        task: which head to load, when the configuration names no architecture.
        dtype: float32 unless told otherwise; a half-precision checkpoint is widened.
        device: where to put the weights.
        revision: branch, tag or commit on the hub.

    Raises:
        VesaliusError: no such model, no weights, weights only as pickle, remote code required,
            no head, or weights that are not finite.

    Source: ``from_pretrained`` of the transformers library.
    """
    if isinstance(source, nn.Module):
        specimen = Specimen(
            model=source, tokenizer=tokenizer, name=_live_name(source), task=task_of(source)
        )
    else:
        specimen = _load(str(source), task, _dtype(dtype), _device(device), revision)
    if not is_finite(specimen.model):
        raise VesaliusError(
            given=f"{specimen.name}: weights with NaN or infinity in them",
            expected="finite weights",
            fix="take another checkpoint; this one was saved after its training diverged",
        )
    return specimen


def open_same(
    source: str,
    *,
    fingerprint: str,
    revision: str,
    device: str,
    dtype: str,
    with_tokenizer: bool = True,
) -> Specimen:
    """Open a model in a worker, and insist that it has the weights of the one at hand; no shapes.

    ``with_tokenizer`` False leaves the tokenizer out, for work on ready inputs.

    Raises:
        VesaliusError: it cannot be opened, or has other weights.

    Source: this project: every worker of a sweep computes with the same model.
    """
    specimen = _load(
        source, None, _dtype(dtype), _device(device), revision, with_tokenizer=with_tokenizer
    )
    if specimen.fingerprint != fingerprint:
        raise VesaliusError(
            given=f"{source!r} with fingerprint {specimen.fingerprint}",
            expected=f"the model of this sweep, {fingerprint}",
            fix="give every worker the same weights",
        )
    return specimen


def _live_name(model: nn.Module) -> str:
    path = str(getattr(getattr(model, "config", None), "name_or_path", "") or type(model).__name__)
    return Path(path).name if Path(path).is_absolute() else path


def _dtype(dtype: str | torch.dtype) -> torch.dtype:
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype not in _DTYPES:
        raise VesaliusError(
            given=f"dtype={dtype!r}", expected=f"one of {', '.join(_DTYPES)}", fix="use float32"
        )
    return _DTYPES[dtype]


def _device(device: str | torch.device) -> torch.device:
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, ValueError) as error:
        raise VesaliusError(
            given=f"device={str(device)!r} ({str(error).splitlines()[0][:120]})",
            expected="a device that torch finds on this machine",
            fix="use cpu, or cuda where there is a GPU and a build of torch for it",
        ) from error


def _load(
    source: str,
    task: Task | None,
    dtype: torch.dtype,
    device: torch.device,
    revision: str,
    *,
    with_tokenizer: bool = True,
) -> Specimen:
    from vesalius.models import zoo

    if not source.strip():
        raise VesaliusError(
            given=f"model {source!r}", expected="the name of a model", fix="use mini-bert"
        )
    name = source if not Path(source).is_dir() else Path(source).resolve().name
    bundled = source in zoo.names() and not Path(source).is_dir()
    location = str(zoo.path(source)) if bundled else source
    if Path(location).is_dir():
        _look_at_folder(Path(location))
    config = _config(location, revision)
    head = _head(config, task, name)
    if getattr(config, KEPT_HEADS, None) and type(config) in head._model_mapping:
        head = pruned_class(_class_of(head, config))
    model = _weights(head, location, dtype, revision).to(device).eval()
    reads_text = with_tokenizer and task_of(model) != "image-classifier"
    tokenizer = _tokenizer(location, revision) if reads_text else None
    return Specimen(model=model, tokenizer=tokenizer, name=name, task=task_of(model))


def _look_at_folder(folder: Path) -> None:
    """Refuse early, with the reason, what from_pretrained would refuse late."""
    if not (folder / "config.json").is_file():
        raise VesaliusError(
            given=f"the folder {folder.name!r} without a config.json",
            expected="a model folder as save_pretrained writes it",
            fix="save the model there with model.save_pretrained(folder)",
        )
    if any(folder.glob("*.safetensors")):
        return
    pickled = [n for n in PICKLES if (folder / n).is_file()]
    if pickled:
        refuse_pickle(pickled[0])
    raise VesaliusError(
        given=f"the folder {folder.name!r} without weights",
        expected="model.safetensors beside config.json",
        fix="save the model there with model.save_pretrained(folder)",
    )


def refuse_pickle(name: str) -> None:
    """Refuse weights that are stored as pickle; no shapes.

    Raises:
        VesaliusError: always.

    Source: this project: opening a stranger's file runs no code.
    """
    raise VesaliusError(
        given=f"weights only as pickle ({name})",
        expected="safetensors: a pickle can run any code when it is opened",
        fix="where you trust the file: AutoModel.from_pretrained(source).save_pretrained(folder) "
        "writes safetensors; then open that folder",
    )


def _config(location: str, revision: str) -> Any:
    from transformers import AutoConfig

    if Path(location).is_dir():
        raw = _raw_config(Path(location))
        if "auto_map" in raw and raw.get("model_type") not in _known_types():
            _refuse_remote_code(location)
    try:
        return AutoConfig.from_pretrained(location, revision=revision, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        if "trust_remote_code" in str(error):
            _refuse_remote_code(location)
        raise unknown_model(location, error) from error


def _raw_config(folder: Path) -> dict[str, Any]:
    try:
        raw = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise VesaliusError(
            given=f"{folder.name}: a config.json that cannot be read ({error})",
            expected="the JSON that save_pretrained writes",
            fix="copy the folder again, or save the model there once more",
        ) from error
    return raw if isinstance(raw, dict) else {}


def _known_types() -> set[str]:
    from transformers import CONFIG_MAPPING

    return set(CONFIG_MAPPING.keys())


def _refuse_remote_code(location: str) -> None:
    raise VesaliusError(
        given=f"{Path(location).name}: a model that brings its own Python code",
        expected="an architecture of the transformers library; remote code is never run",
        fix="load it yourself after reading its code, and pass the live model to vesalius.open",
    )


def unknown_model(location: str, error: Exception) -> VesaliusError:
    """Make the error that tells of a model that was not found; no shapes.

    Source: this project.
    """
    from vesalius.models import zoo

    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return VesaliusError(
        given=f"model {location!r} ({reason[:160]})",
        expected=f"a bundled model ({', '.join(zoo.names()) or 'none'}), a folder that "
        "save_pretrained wrote, or a name on the hub",
        fix="check the spelling; hub names need a network or a filled cache",
    )


def _head(config: Any, task: Task | None, name: str) -> Any:
    """The Auto class for the head that the checkpoint was saved with."""
    import transformers as hf

    by_task = {
        "masked-lm": hf.AutoModelForMaskedLM,
        "causal-lm": hf.AutoModelForCausalLM,
        "seq2seq-lm": hf.AutoModelForSeq2SeqLM,
        "classifier": hf.AutoModelForSequenceClassification,
        "image-classifier": hf.AutoModelForImageClassification,
    }
    if task is not None and task not in by_task:
        raise VesaliusError(
            given=f"task={task!r}", expected=f"one of {', '.join(by_task)}", fix="leave it out"
        )
    if task is not None:
        return by_task[task]
    saved = " ".join(getattr(config, "architectures", None) or [])
    if "ImageClassification" in saved:
        return by_task["image-classifier"]
    if "SequenceClassification" in saved:
        return by_task["classifier"]
    if "ConditionalGeneration" in saved and getattr(config, "is_encoder_decoder", False):
        return by_task["seq2seq-lm"]
    if "MaskedLM" in saved or "ForPreTraining" in saved:
        return by_task["masked-lm"]
    if "CausalLM" in saved or "LMHead" in saved:
        return by_task["causal-lm"]
    raise VesaliusError(
        given=f"{name}: saved as {saved or 'no named architecture'}, without a head",
        expected="a checkpoint with a language-model or classification head",
        fix="name the head to load with task='masked-lm' (or causal-lm, seq2seq-lm, classifier)",
    )


def _class_of(head: Any, config: Any) -> type[nn.Module]:
    """The model class that an Auto class would choose for a configuration."""
    classes = head._model_mapping[type(config)]
    if isinstance(classes, type):
        return classes
    saved = getattr(config, "architectures", None) or []
    return next((c for c in classes if c.__name__ in saved), classes[0])


def _weights(head: Any, location: str, dtype: torch.dtype, revision: str) -> nn.Module:
    from safetensors import SafetensorError

    try:
        model, info = head.from_pretrained(
            location,
            dtype=dtype,
            revision=revision,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (OSError, ValueError) as error:
        if "safetensors" in str(error):
            refuse_pickle("pytorch_model.bin")
        raise unknown_model(location, error) from error
    except (SafetensorError, RuntimeError) as error:
        raise VesaliusError(
            given=f"{Path(location).name}: weights that cannot be read "
            f"({str(error).strip().splitlines()[0][:120]})",
            expected="complete safetensors files that fit config.json",
            fix="copy or download the weights again",
        ) from error
    if missing := sorted(info["missing_keys"]):
        raise VesaliusError(
            given=f"{Path(location).name}: no weights for {len(missing)} tensors of "
            f"{type(model).__name__}, such as {missing[0]}",
            expected="a checkpoint that holds this head too, trained",
            fix="open the checkpoint it was fine-tuned to, or name another head with task=...",
        )
    return model


def _tokenizer(location: str, revision: str) -> Any:
    from transformers import AutoTokenizer

    try:
        loaded = AutoTokenizer.from_pretrained(location, revision=revision, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise _no_tokenizer(location, type(error).__name__) from error
    # without files transformers makes one of special tokens alone, for which every word is [UNK]
    if len(loaded) <= len(loaded.all_special_tokens):
        raise _no_tokenizer(location, "no vocabulary")
    return loaded


def _no_tokenizer(location: str, reason: str) -> VesaliusError:
    return VesaliusError(
        given=f"{Path(location).name}: a model without a tokenizer ({reason})",
        expected="tokenizer files beside the weights",
        fix="save them there with tokenizer.save_pretrained(folder)",
    )
