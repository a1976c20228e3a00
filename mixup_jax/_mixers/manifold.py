"""Manifold Mixup: examples blended in one layer of the model, drawn at each call."""

import functools
from collections.abc import Sequence

from jax import Array
from jax.typing import ArrayLike

from mixup_jax._core.compose import compose
from mixup_jax._core.mix import Mix
from mixup_jax._core.mixer import method
from mixup_jax._core.types import Batch, Pairing, Ratio
from mixup_jax.pairings import neighbour
from mixup_jax.ratios._known import DEFAULT_ALPHA, ratio_of
from mixup_jax.regions import layer


@method
def manifold(
    key: Array,
    batch: Batch,
    *,
    layers: Sequence[int],
    alpha: ArrayLike = DEFAULT_ALPHA,
    ratio: Ratio | None = None,
    pairing: Pairing = neighbour,
) -> Mix:
    """Blend inputs, or leave that to a hidden layer; blend targets either way.

    ::

        k      ~ Uniform(layers)
        h~_k[i] = lam[i] * h_k[i] + (1 - lam[i]) * h_k[partner(i)],  h_0 the inputs
        y~[i]   = lam[i] * y[i]   + (1 - lam[i]) * y[partner(i)]

    The model calls ``mix.at(k).inputs(hidden)`` in each of the layers; that returns
    ``hidden`` as it is where another layer was drawn. ``mixup_jax.hidden`` does so for
    Flax models without a change to their code. One program serves all layers, so the
    draw is a select and not a branch. Gradients by ``alpha`` are those of ``mixup``.

    Args:
      key: PRNG key.
      batch: pair ``(inputs, targets)`` as for ``mixup``; inputs of any dtype where 0 is
        not among the ``layers``.
      layers: the numbers of the layers to draw from, 0 for the inputs.
      alpha: parameter of the Beta distribution, may be traced; 0 is no mixing. The
        paper uses 2.
      ratio: draws ``lam`` in place of ``beta(alpha)``.
      pairing: draws the partners. The default relies on a shuffled batch.

    Returns:
      The batch, its inputs mixed if layer 0 was drawn; and the ``Mix``.

    Raises:
      TypeError: ``key`` is no key, or a leaf to be blended is of integers.
      ValueError: as ``mixup``; or ``layers`` is empty, or has a negative number or one
        twice.

    Example:
      >>> import jax, mixup_jax as mx
      >>> batch = (jax.numpy.ones((4, 3)), jax.numpy.eye(4))
      >>> key = jax.random.key(0)
      >>> (x, y), mix = mx.manifold(key, batch, layers=(1, 2), alpha=2.0)
      >>> hidden = mix.at(1).inputs(jax.numpy.tanh(x))
      >>> hidden = mix.at(2).inputs(jax.numpy.tanh(hidden))

    Source: Verma et al., "Manifold Mixup: Better Representations by Interpolating
    Hidden States", ICML 2019, arXiv:1806.05236.
    """
    return compose(
        key,
        batch,
        ratio=ratio_of(alpha, ratio),
        pairing=pairing,
        region=functools.partial(layer, layers=layers),
    )
