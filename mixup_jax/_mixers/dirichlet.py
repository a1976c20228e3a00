"""Mixup of several partners: Dirichlet shares."""

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
    """Blend every example with several partners, and their targets alike.

    ::

        x~[i] = sum_k share_k[i] * x[p_k(i)],  p_0(i) = i
        y~[i] = sum_k share_k[i] * y[p_k(i)]
        share[i] ~ Dirichlet(alpha, ..., alpha), of 1 + partners

    With one partner it is ``mixup``. Shares are drawn by breaking a stick: what the
    content before keeps of what is left is ``Beta(alpha, alpha * (partners - k))``.
    Partners are ``i ^ 1``, ``i ^ 2``, ... (``pairings.nth``); a batch of B examples has
    at most B - 1 of them.

    Args:
      key: PRNG key.
      batch: pair ``(inputs, targets)`` as for ``mixup``; it should be shuffled.
      alpha: parameter of the Dirichlet distribution, may be traced; 0 is no mixing.
      partners: how many, at least 1.

    Returns:
      The mixed batch, every leaf with its dtype, shape and sharding; and the ``Mix``,
      whose ``terms`` are the shares.

    Raises:
      TypeError: If ``key`` is not a key, a leaf is of integers, or ``partners`` is not
        an integer.
      ValueError: If the batch is not a pair, is empty, or its leaves disagree on its
        size; if ``alpha`` is negative or NaN, or ``partners`` less than 1.

    Example:
      >>> import jax, mixup_jax as mx
      >>> batch = (jax.numpy.ones((4, 3)), jax.nn.one_hot(jax.numpy.arange(4), 4))
      >>> (x, y), mix = mx.dirichlet(jax.random.key(0), batch, partners=2)
      >>> shares = [share for share, _ in mix.terms(jax.numpy.arange(4))]
      >>> len(shares), bool((abs(sum(shares) - 1) < 1e-6).all())
      (3, True)

    References:
      Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018,
      arXiv:1710.09412, section 2, which mentions it.
    """
    advice = "Use 0 for no mixing at all."
    checks.number(alpha, "dirichlet: alpha", 0, advice=advice)
    if arrays.is_concrete(alpha):
        alpha = np.asarray(alpha, np.float32)  # in which it can be multiplied
    partners = checks.count(partners, "dirichlet: partners", "1 is mixup_jax.mixup.")
    partners = min(partners, max(checks.examples(batch) - 1, 1))

    def parts(k: int) -> Parts:
        left = partners - k
        ratio = ratios.beta(alpha, *([alpha * left] if left > 1 else []))
        return Parts(ratio, partial(nth, n=k + 1, of=partners), everywhere)

    return from_sources(
        key, batch, list(map(parts, range(partners))), lambda *s: Mix(s[0].lam, s)
    )
