"""The factor on the learning rate: warm-up, then stable and decay, or a linear fall."""

from vesalius.training.config import TrainingOptions


def lr_factor(step: int, *, options: TrainingOptions) -> float:
    """Return the share of the peak learning rate used by step `step` (0-based), in (0, 1].

    Source: Hu et al. 2024 (arXiv 2404.06395), with a linear decay; Devlin et al. 2019 for
    schedule "linear".

    >>> options = TrainingOptions(num_steps=100, warmup_steps=10, decay_share=0.2)
    >>> [lr_factor(step, options=options) for step in (0, 9, 79, 90, 99)]
    [0.1, 1.0, 1.0, 0.5, 0.05]
    >>> options = TrainingOptions(num_steps=100, warmup_steps=10, schedule="linear")
    >>> [lr_factor(step, options=options) for step in (0, 9, 10, 55)]
    [0.1, 1.0, 1.0, 0.5]
    """
    warmup = (step + 1) / max(1, options.warmup_steps)
    if options.schedule == "linear":
        decay_steps = max(1, options.num_steps - options.warmup_steps)
    else:
        decay_steps = max(1, round(options.num_steps * options.decay_share))
    decay = (options.num_steps - step) / decay_steps
    return min(1.0, warmup, decay)
