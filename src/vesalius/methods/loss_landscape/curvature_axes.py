"""Axes that the training loss itself chooses: its gradient, and the eigenvectors of its Hessian.

Source: Li et al. 2018, arXiv 1712.09913, section 6 (curvature beside pictures); this project.
"""

from collections.abc import Sequence

import torch

from vesalius.methods.loss_landscape.examples import TRAIN, Examples
from vesalius.models.displaced import Weights
from vesalius.models.hessian import HessianProduct
from vesalius.models.specimen import Specimen
from vesalius.numerics.curvature import top_eigenvalues


def gradient_axis(specimen: Specimen, examples: Examples, names: Sequence[str]) -> Weights:
    """Give the gradient of the mean training loss at the model's weights; the weights' shapes.

    Source: the first-order worst case.
    """
    product = HessianProduct(specimen.model, examples.batches(TRAIN), examples.losses, names)
    return product.weights(product.gradient())


def hessian_axes(
    specimen: Specimen, examples: Examples, names: Sequence[str], *, num: int, seed: int
) -> list[tuple[float, Weights]]:
    """Give the largest eigenvalues of the Hessian of the training loss, with their eigenvectors.

    Raises:
        VesaliusError: a loss that cannot be differentiated twice.

    Source: Lanczos with thick restarts; products by double backward.
    """
    product = HessianProduct(specimen.model, examples.batches(TRAIN), examples.losses, names)
    generator = torch.Generator().manual_seed(seed)
    found = top_eigenvalues(
        product,
        product.size,
        num=num,
        generator=generator,
        dtype=product.dtype,
        device=product.device,
    )
    assert found.vectors is not None, "eigenvectors were asked for"
    return [
        (float(value), product.weights(vector))
        for value, vector in zip(found.values, found.vectors, strict=True)
    ]
