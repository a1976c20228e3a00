"""Ratios: how much of each example's own content is kept, the weight ``lam``.

A ratio is any callable ``(key, partners) -> lam`` that returns float32 ``[B]`` in
[0, 1]. It may have a method that draws ``lam`` from a range; see ``truncated``. The
samplers have no loops: ``jax.random.beta`` compiles to while loops, which cost 0.6 MB
of HLO, more than a second of compile time and, under automatic sharding, all-reduces.
The distribution of ``lam`` is guaranteed, the values drawn for a given key are not.
"""

from mixup_jax.ratios._known import beta as beta
from mixup_jax.ratios._known import constant as constant
from mixup_jax.ratios._known import uniform as uniform
from mixup_jax.ratios._ranges import folded as folded
from mixup_jax.ratios._ranges import truncated as truncated
from mixup_jax.ratios._shared import per_batch as per_batch
from mixup_jax.ratios._shared import per_pair as per_pair
