"""Weights by name, from wherever they are kept, and fitted to the tensors of an opened model.

A frame in weight space, a trajectory and a rollback need tensors of another model, not that model
itself: nothing here builds a network.

Source: this project; the safetensors format and the checkpoint index of the transformers library.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from vesalius.core.errors import VesaliusError
from vesalius.models.opening import (
    PICKLES,
    refuse_pickle,
    unknown_model,
)

_WHOLE: Final = "model.safetensors"
_INDEX: Final = "model.safetensors.index.json"
_PICKLE_ENDINGS: Final = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_WRAPPERS: Final = ("module.", "_orig_mod.")  # of DistributedDataParallel and of torch.compile


def read_weights(
    source: str | Path | nn.Module | Mapping[str, Any], *, revision: str = "main"
) -> dict[str, Tensor]:
    """Read all floating-point tensors of a model, by their stored names, shapes as stored.

    The tensors lie on the CPU in float32 and share no memory with a live model or state dict.
    Tied tensors of a live model share memory with each other. Integer tensors are left out.

    Args:
        source: a bundled model's name, a folder with ``model.safetensors`` or its shards and
            index, a ``.safetensors`` file, a name on the hub, a live model, or a state dict.
        revision: branch, tag or commit on the hub.

    Raises:
        VesaliusError: nothing there, weights only as pickle, a damaged file, or tensors that are
            quantised or not in memory.
    """
    if isinstance(source, nn.Module):
        return _copied(source.state_dict(keep_vars=True))
    if isinstance(source, Mapping):
        return _copied(source)
    found: dict[str, Tensor] = {}
    for file in _files(source, revision):
        found |= _read_file(file)
    if not found:
        raise VesaliusError(
            given=f"{_shown(source)}: no floating-point tensor in it",
            expected="the weights of a model",
            fix="name the folder that save_pretrained wrote, or its model.safetensors",
        )
    return found


def fit_weights(
    found: Mapping[str, Tensor], model: nn.Module, names: Sequence[str], *, what: str
) -> dict[str, Tensor]:
    """Pick tensors of a model out of stored weights: float32, in the model's order and shapes.

    A tensor may be stored under any of the names it is tied to, with or without the prefix of the
    base model (``bert.``), behind the prefix of a wrapper (``module.``), and under the older names
    that the transformers library knows (``LayerNorm.gamma``).

    Args:
        found: what :func:`read_weights` gave.
        model: the model they shall fit.
        names: which of its parameters, by their names in ``model.named_parameters()``.
        what: how messages call these weights, such as ``"the start"``.

    Raises:
        VesaliusError: a name that the model or the weights do not have, another shape, or numbers
            that are not finite; the first such tensor is named.
    """
    wanted, own = set(names), {name: p.shape for name, p in model.named_parameters()}
    if strange := sorted(wanted - own.keys()):
        raise VesaliusError(
            given=f"tensor {strange[0]!r}",
            expected="names of the model's parameters, a tied tensor by its first name",
            fix="take them from model.named_parameters()",
        )
    stored, aliases = _unwrapped(found), _aliases(model)
    keys = _renamed(stored, model) | {name: name for name in stored}
    prefix = str(getattr(model, "base_model_prefix", "") or "")
    fitted: dict[str, Tensor] = {}
    for name in (n for n in own if n in wanted):
        spellings = [s for alias in aliases[name] for s in _spellings(alias, prefix)]
        key = next((keys[spelling] for spelling in spellings if spelling in keys), None)
        if key is None:
            raise _missing(name, stored, what)
        tensor = stored[key].detach().to(torch.float32)
        if tensor.shape != own[name]:
            raise VesaliusError(
                given=f"{what}: {key} of shape {list(tensor.shape)}",
                expected=f"shape {list(own[name])}, as {name} of the model",
                fix="take weights of the same architecture and vocabulary",
            )
        if not bool(torch.isfinite(tensor).all()):
            raise VesaliusError(
                given=f"{what}: NaN or infinity in {key}",
                expected="finite weights",
                fix="take another checkpoint; this one was saved after its training diverged",
            )
        fitted[name] = tensor
    return fitted


def _copied(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Copy tensors and arrays, one that stands under several names only once."""
    copies: dict[int, Tensor] = {}
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        if isinstance(value, np.ndarray):
            value = torch.tensor(value) if value.dtype.kind == "f" else None
        if not isinstance(value, Tensor) or not value.is_floating_point():
            continue
        if id(value) not in copies:
            copies[id(value)] = _widened(name, value).clone()
        found[name] = copies[id(value)]
    return found


def _widened(name: str, tensor: Tensor) -> Tensor:
    """A tensor on the CPU in float32; shape [...]."""
    if tensor.is_meta or tensor.itemsize == 1:
        raise VesaliusError(
            given=f"{name}: " + ("not in memory (offloaded)" if tensor.is_meta else "quantised"),
            expected="weights in memory, in 16, 32 or 64 bits",
            fix="load the model without offloading and without quantisation",
        )
    return tensor.detach().to("cpu", torch.float32)


def _files(source: str | Path, revision: str) -> tuple[Path, ...]:
    """The safetensors files of a source, in the order of their names."""
    from vesalius.models import zoo

    path = Path(source)
    if isinstance(source, str) and source in zoo.names() and not path.is_dir():
        path = zoo.path(source)
    if path.is_dir():
        return _of_place(lambda name, _: path / name if (path / name).is_file() else None, path)
    if path.suffix in _PICKLE_ENDINGS:
        refuse_pickle(path.name)
    if path.is_file():
        return (path,)
    if isinstance(source, Path) or path.suffix == ".safetensors" or not source.strip():
        raise unknown_model(_shown(source), FileNotFoundError("no such file or folder"))
    try:
        return _of_place(lambda name, must: _fetched(source, name, revision, must), source)
    except (OSError, ValueError) as error:
        raise unknown_model(source, error) from error


def _fetched(source: str, name: str, revision: str, must: bool) -> Path | None:
    """A file of a model on the hub, downloaded where the cache has none.

    None where there is no such file; with ``must`` the hub's own error says why.
    """
    from transformers.utils.hub import cached_file

    file = cached_file(
        source,
        name,
        revision=revision,
        _raise_exceptions_for_missing_entries=must,
        _raise_exceptions_for_connection_errors=must,  # offline, every file not cached is one
    )
    return None if file is None else Path(file)


def _of_place(fetch: Callable[[str, bool], Path | None], place: str | Path) -> tuple[Path, ...]:
    """The weight files of a folder or a hub name, complete."""
    if (whole := fetch(_WHOLE, False)) is not None:
        return (whole,)
    if (index := fetch(_INDEX, False)) is not None:
        shards = {shard: fetch(shard, False) for shard in _shards(index)}
        if absent := [shard for shard, file in shards.items() if file is None]:
            raise VesaliusError(
                given=f"{_shown(place)}: no {absent[0]}, which {_INDEX} names",
                expected=f"all {len(shards)} parts of the weights",
                fix="copy or download the weights again",
            )
        return tuple(file for file in shards.values() if file is not None)
    if pickled := [name for name in PICKLES if fetch(name, False) is not None]:
        refuse_pickle(pickled[0])
    fetch(_WHOLE, True)
    raise VesaliusError(
        given=f"{_shown(place)}: no {_WHOLE} in it",
        expected="a model folder as save_pretrained writes it",
        fix="name the folder one deeper (such as model/ of a finetune run), or the file itself",
    )


def _shards(index: Path) -> list[str]:
    """The names of the parts that an index lists, sorted."""
    try:
        listed = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        names = sorted({str(name) for name in listed})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(index, error) from error
    if not names or any(Path(name).name != name for name in names):
        raise _damaged(index, ValueError("no plain names of files"))
    return names


def _read_file(file: Path) -> dict[str, Tensor]:
    """All floating-point tensors of one file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        stored = load_file(file, device="cpu")
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(file, error) from error
    return {name: _widened(name, t) for name, t in stored.items() if t.is_floating_point()}


def _damaged(file: Path, error: Exception) -> VesaliusError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return VesaliusError(
        given=f"{file.name}: weights that cannot be read ({reason[:120]})",
        expected="complete safetensors files",
        fix="copy or download the weights again",
    )


def _shown(source: str | Path) -> str:
    """A source as messages show it: a folder by its name, without the path of a machine."""
    path = Path(source)
    return path.name if path.is_absolute() else str(source)


def _unwrapped(found: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    for wrapper in _WRAPPERS:
        if found and all(name.startswith(wrapper) for name in found):
            return _unwrapped({n.removeprefix(wrapper): t for n, t in found.items()})
    return found


def _aliases(model: nn.Module) -> dict[str, list[str]]:
    """All names of each parameter, by its first one."""
    first: dict[int, str] = {}
    aliases: dict[str, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        aliases.setdefault(first.setdefault(id(parameter), name), []).append(name)
    return aliases


def _spellings(name: str, prefix: str) -> Iterator[str]:
    """A parameter's name, then the one that the base model alone or a model around it gives it."""
    yield name
    if prefix and name.startswith(f"{prefix}."):
        yield name.removeprefix(f"{prefix}.")
    elif prefix:
        yield f"{prefix}.{name}"


def _renamed(stored: Mapping[str, Tensor], model: nn.Module) -> dict[str, str]:
    """Stored names by what they are called today: save_pretrained still writes some old ones."""
    from transformers import PreTrainedModel
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightRenaming

    if not isinstance(model, PreTrainedModel):
        return {}
    rules = [r for r in get_model_conversion_mapping(model) if isinstance(r, WeightRenaming)]
    keys: dict[str, str] = {}
    for name in sorted(stored):  # some rules wait for the first name in this order
        today = name
        for rule in rules:
            today = rule.rename_source_key(today)[0]
        keys[today] = name
    return keys


def _missing(name: str, stored: Mapping[str, Tensor], what: str) -> VesaliusError:
    held = f"{len(stored)} others, such as {next(iter(stored))}" if stored else "no tensor"
    return VesaliusError(
        given=f"{what}: no tensor for {name} (it has {held})",
        expected="weights of the same architecture",
        fix="take a checkpoint of the same model; where only the stored names differ, open it "
        "with vesalius.open and pass its live model",
    )
