"""Manifold Mixup: examples blended in a randomly drawn layer of the model."""

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
    """Blend examples in a layer drawn for each batch; targets are always blended.

    ::

        k       ~ Uniform(layers)
        h~_k[i] = lam[i] * h_k[i] + (1 - lam[i]) * h_k[partner(i)],  h_0 the inputs
        y~[i]   = lam[i] * y[i]   + (1 - lam[i]) * y[partner(i)]

    The model calls ``mix.at(k).inputs(hidden)`` in each of the layers, which returns
    ``hidden`` unchanged unless layer ``k`` was drawn. ``mixup_jax.hidden`` does this
    for Flax models without changes to their code. The layer is selected without a
    branch, so one compiled program covers all of them. Gradients with respect to
    ``alpha`` are as for ``mixup``.

    Args:
      key: PRNG key.
      batch: pair ``(inputs, targets)`` as for ``mixup``; inputs may have any dtype if 0
        is not among the ``layers``.
      layers: numbers of the layers to draw from, each once; 0 is the inputs.
      alpha: concentration of ``Beta(alpha, alpha)``, a scalar or ``[B]``; may be a
        traced value. 0 disables mixing; the default of 1 draws ``lam`` uniformly. The
        paper uses 2.
      ratio: draws ``lam`` in place of ``ratios.beta(alpha)``; see ``mixup_jax.ratios``.
      pairing: draws the partners; see ``mixup_jax.pairings``. The default pairs
        neighbors and relies on a shuffled batch.

    Returns:
      The batch, whose inputs are mixed if layer 0 was drawn, and the ``Mix`` to apply
      to the hidden layers.

    Raises:
      TypeError: If ``key`` is not a PRNG key, or a leaf to be blended is neither
        floating-point nor complex.
      ValueError: If the batch is not a pair, is empty, or its leaves disagree on the
        batch size. If ``layers`` is empty or contains a negative or repeated number. If
        a concrete ``alpha`` is negative or NaN, or both ``alpha`` and ``ratio`` are
        given.

    Example:
      >>> import jax, mixup_jax as mx
      >>> batch = (jax.numpy.ones((4, 3)), jax.numpy.eye(4))
      >>> key = jax.random.key(0)
      >>> (x, y), mix = mx.manifold(key, batch, layers=(1, 2), alpha=2.0)
      >>> hidden = mix.at(1).inputs(jax.numpy.tanh(x))
      >>> hidden = mix.at(2).inputs(jax.numpy.tanh(hidden))

    References:
      Verma et al., "Manifold Mixup: Better Representations by Interpolating Hidden
      States", ICML 2019, https://arxiv.org/abs/1806.05236.
    """
    return compose(
        key,
        batch,
        ratio=ratio_of(alpha, ratio),
        pairing=pairing,
        region=functools.partial(layer, layers=layers),
    )
