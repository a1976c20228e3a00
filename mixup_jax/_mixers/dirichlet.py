"""Mixup of several partners, with shares drawn from a Dirichlet distribution."""

from functools import partial

import numpy as np
from jax import Array
from jax.typing import ArrayLike

from mixup_jax import ratios
from mixup_jax._core import arrays, checks
from mixup_jax._core.compose import Parts, from_sources
from mixup_jax._core.mix import Mix
from mixup_jax._core.mixer import method
from mixup_jax._core.types import Batch
from mixup_jax.pairings import nth
from mixup_jax.regions import everywhere


@method
def dirichlet(
    key: Array, batch: Batch, *, alpha: ArrayLike = 1.0, partners: int = 2
) -> Mix:
    """Blend each example with several partners, and their targets with the same shares.

    ::

        x~[i] = sum_k share_k[i] * x[p_k(i)],  p_0(i) = i
        y~[i] = sum_k share_k[i] * y[p_k(i)]
        share[i] ~ Dirichlet(alpha, ..., alpha), of dimension 1 + partners

    With one partner this is ``mixup``. The shares are drawn by stick-breaking: the
    fraction of the remainder that the k-th content keeps, counted from 0, is
    distributed as ``Beta(alpha, alpha * (partners - k))``. The partners are ``i ^ 1``,
    ``i ^ 2``, ... (see ``pairings.nth``); in a batch of B examples each has at most
    ``B - 1``.

    Args:
      key: PRNG key.
      batch: pair ``(inputs, targets)`` as for ``mixup``. The batch should be shuffled.
      alpha: concentration of the Dirichlet distribution, a scalar or ``[B]``; may be a
        traced value. 0 disables mixing; the default of 1 draws the shares uniformly.
      partners: number of partners of each example, at least 1.

    Returns:
      The mixed batch, whose leaves keep their dtype, shape and sharding, and the
      ``Mix``, whose ``terms`` are the shares.

    Raises:
      TypeError: If ``key`` is not a PRNG key, if a leaf is neither floating-point nor
        complex, or if ``partners`` is not an integer.
      ValueError: If the batch is not a pair, is empty, or its leaves disagree on the
        batch size. If a concrete ``alpha`` is negative or NaN, or ``partners`` is less
        than 1.

    Example:
      >>> import jax, mixup_jax as mx
      >>> batch = (jax.numpy.ones((4, 3)), jax.nn.one_hot(jax.numpy.arange(4), 4))
      >>> (x, y), mix = mx.dirichlet(jax.random.key(0), batch, partners=2)
      >>> shares = [share for share, _ in mix.terms(jax.numpy.arange(4))]
      >>> len(shares), bool((abs(sum(shares) - 1) < 1e-6).all())
      (3, True)

    References:
      Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018, section 2,
      https://arxiv.org/abs/1710.09412.
    """
    advice = "Use 0 to disable mixing."
    checks.number(alpha, "dirichlet: alpha", 0, advice=advice)
    if arrays.is_concrete(alpha):
        alpha = np.asarray(alpha, np.float32)  # so that a list can be multiplied
    fewest = "One partner is mixup_jax.mixup."
    partners = checks.count(partners, "dirichlet: partners", fewest)
    partners = min(partners, max(checks.examples(batch) - 1, 1))

    def parts(k: int) -> Parts:
        left = partners - k
        ratio = ratios.beta(alpha, *([alpha * left] if left > 1 else []))
        return Parts(ratio, partial(nth, n=k + 1, of=partners), everywhere)

    return from_sources(
        key, batch, list(map(parts, range(partners))), lambda *s: Mix(s[0].lam, s)
    )
