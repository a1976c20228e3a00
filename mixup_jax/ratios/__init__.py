"""How much: ratios draw `lam`, the weight of each example's own content.

A ratio is any callable `(key, partners) -> lam`, float32 `[B]` in [0, 1]. It may say
how it is drawn in a range, see `truncated`. The samplers are loop-free:
`jax.random.beta` costs while loops, 0.6 MB of HLO and more than a second of compile
time, and under automatic sharding all-reduces. What is promised is the distribution,
not the numbers drawn for a key.
"""

from mixup_jax.ratios._known import beta as beta
from mixup_jax.ratios._known import constant as constant
from mixup_jax.ratios._known import uniform as uniform
from mixup_jax.ratios._ranges import folded as folded
from mixup_jax.ratios._ranges import truncated as truncated
from mixup_jax.ratios._shared import per_batch as per_batch
from mixup_jax.ratios._shared import per_pair as per_pair
