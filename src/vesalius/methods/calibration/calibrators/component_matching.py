"""Which component of a mixture stands for which label.

The score of a matching is the sum, over components, of the mean log-probability of the label that
it gets; the best of all permutations is a maximum-weight matching, which SciPy finds.

Source: arXiv 2205.10183, section 3.3, eq. 4 (cluster-label assignment).
"""

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment


def match_components(means: Float[np.ndarray, "component label"]) -> Int[np.ndarray, " component"]:
    """Give every component its own label, from mean log-probabilities [component, label].

    >>> match_components(np.log([[0.2, 0.8], [0.4, 0.6]]))
    array([1, 0])
    """
    return linear_sum_assignment(means, maximize=True)[1]


def assignment_scores(
    means: Float[np.ndarray, "restart component label"],
) -> Float[np.ndarray, " restart"]:
    """Give the score of the best matching of every restart, [restart], in nats."""
    matched = [one[np.arange(len(one)), match_components(one)].sum() for one in means]
    return np.array(matched, dtype=np.float64)
