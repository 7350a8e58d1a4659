"""Operations of training a pair on one token.

Source: Kaplan et al. 2020, arXiv 2001.08361, table 1 (two for each weight that a token meets),
with the attention's own, and the vocabulary at the slots alone; backward counts twice forward.
"""

from vesalius.methods.electra.config import ElectraOptions
from vesalius.models.electra import PairShape


def flops_per_token(shape: PairShape, *, context_length: int, electra: ElectraOptions) -> float:
    """Return the additions and multiplications of training on one token, backward included.

    Rows are taken as full: attention meets all tokens of a row.
    """
    modern = shape.architecture == "modern"
    matrices = 3 if modern else 2  # gated layers have one more

    def encoder(width: int, ffn_width: int, num_layers: int) -> float:
        weights = 4 * width**2 + matrices * width * ffn_width
        return num_layers * (2 * weights + 4 * context_length * width)

    discriminator = encoder(shape.width, shape.ffn_width, shape.num_layers)
    discriminator += 2 * shape.width * (shape.width + 1)  # its head reads every token
    own, shared = shape.generator_width, shape.shared_size
    generator = encoder(own, shape.generator_ffn_width, shape.generator_layers)
    if not modern:  # each network widens the shared embeddings to its own size
        generator += sum(2 * shared * width for width in (own, shape.width) if width != shared)
    elif own != shared:
        generator += 2 * own * shared
    at_slot = 2 * own * shared + 2 * shape.vocab_size * shared
    if modern:
        at_slot += 2 * own**2
    if electra.has_head:
        at_slot += 2 * shared * (own + shared) + 2 * shape.vocab_size * shared
    return 3 * (discriminator + generator + electra.mask_prob * at_slot)
