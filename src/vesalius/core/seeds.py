"""Independent seeds from one root seed and the words that say what they are for.

A seed depends on its words and on nothing else: not on the order of the calls, the number of
workers or the process, so a serial and a parallel run draw the same numbers.

Source: the design of this project, docs/decisions.md.
"""

import hashlib

from vesalius.core.errors import VesaliusError

_SEED_BITS = 63  # the largest seed that numpy, torch and a signed 64-bit column all take


def derive_seed(root: int, *words: str | int) -> int:
    """Derive a seed in ``[0, 2**63)`` from a root seed and the words that name its purpose.

    The words are length-prefixed before hashing: ``("ab", "c")`` and ``("a", "bc")`` differ,
    and so do ``1`` and ``"1"``.

    >>> derive_seed(0, "locate", 3) == derive_seed(0, "locate", 3)
    True
    >>> derive_seed(0, "locate", 3) == derive_seed(0, "locate", 4)
    False
    """
    digest = hashlib.blake2b(digest_size=8)
    for word in (root, *words):
        text = repr(word).encode()
        digest.update(len(text).to_bytes(8, "big") + text)
    return int.from_bytes(digest.digest(), "big") >> (64 - _SEED_BITS)


def spawn_seeds(root: int, count: int, *words: str | int) -> tuple[int, ...]:
    """Spawn ``count`` seeds; the first ones stay the same when more are asked for.

    Raises:
        VesaliusError: ``count`` is negative.

    >>> spawn_seeds(7, 3, "shard")[:2] == spawn_seeds(7, 2, "shard")
    True
    """
    if count < 0:
        raise VesaliusError(given=f"count={count}", expected="count >= 0", fix="ask for one seed")
    return tuple(derive_seed(root, *words, index) for index in range(count))
