"""What a sampler can know: hardness by the generator's probability, as mean or root mean square.

The generator does not know which token is the original. Where l is the loss of a token whose truth
is open, sum q² E[l²] / p is least at p proportional to q sqrt(E[l²]), not to q E[l]. Here both are
read off a table of bins of q, of the very slots that it is used on: more than a sampler that sees
nothing but q could reach.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch

from vesalius.methods.electra.enumeration import at_rest, judge, open_slots
from vesalius.methods.electra.objective import ReplacedTokenObjective

EDGES: Final = (0, 1e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
NUM_BATCHES: Final = 8
AT_ONCE: Final = 8192  # tokens of a forward pass


@dataclass(frozen=True, kw_only=True)
class Slots:
    """All tokens at some slots: the generator's and the sampler's probabilities, and the losses.

    Arrays are [slot, token]; ``right`` [slot] says whether the likeliest token is the original.
    """

    q: np.ndarray
    sampler: np.ndarray
    nats: np.ndarray
    right: np.ndarray


def enumerate_slots(model: ReplacedTokenObjective, batches: Any, *, num_slots: int) -> Slots:
    """Put every token in turn at slots of held-out batches, chosen evenly."""
    q, sampler, nats, right = [], [], [], []
    everything = torch.arange(model.pair.shape.vocab_size)
    with at_rest(model):
        for number in range(NUM_BATCHES):
            batch = batches[number]
            count = num_slots // NUM_BATCHES
            chosen = torch.linspace(0, len(batch["slots"]) - 1, count).long()
            for slot in open_slots([model], batch, chosen):
                probs = slot.logits.double().softmax(-1).numpy()
                q.append(probs[0])
                sampler.append(probs[-1])
                found = judge(model.pair, slot, everything, tokens_at_once=AT_ONCE)
                nats.append(found.nats.numpy())
                right.append(int(probs[0].argmax()) == slot.original)
    return Slots(
        q=np.array(q), sampler=np.array(sampler), nats=np.array(nats), right=np.array(right)
    )


def variances(found: Slots, p: np.ndarray) -> np.ndarray:
    """Give the variance of the weighted loss at every slot, for a sampler p [slot, token]."""
    p = p / p.sum(1, keepdims=True)
    mean = (found.q * found.nats).sum(1)
    return (found.q**2 * found.nats**2 / p).sum(1) - mean**2


def tabled(found: Slots, *, power: int) -> np.ndarray:
    """Give q times the hardness of its bin, [slot, token], from the same slots.

    ``power`` 1 is the mean of the loss in a bin, 2 its root mean square; q weighs both.
    """
    bins = np.digitize(found.q, EDGES) - 1
    flat, q = bins.reshape(-1), found.q.reshape(-1)
    mass = np.bincount(flat, q, len(EDGES))
    total = np.bincount(flat, q * found.nats.reshape(-1) ** power, len(EDGES))
    hardness = (total / np.where(mass > 0, mass, 1.0)) ** (1 / power)
    return found.q * hardness[bins]


def known(found: Slots) -> dict[str, Any]:
    """Give ratios of summed variances, over all slots and by whether the generator is right."""
    base = variances(found, found.q)
    ways = {
        "learned": found.sampler,
        "mean": tabled(found, power=1),
        "root mean square": tabled(found, power=2),
    }
    told: dict[str, Any] = {"slots": len(base), "right": found.right.mean()}
    for name, p in ways.items():
        each = variances(found, p)
        told[name] = {
            "all": each.sum() / base.sum(),
            "right": each[found.right].sum() / base[found.right].sum(),
            "wrong": each[~found.right].sum() / base[~found.right].sum(),
            "median": np.median(each / base),
        }
    return told
