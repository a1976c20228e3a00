"""Targets and losses for mixed labels.

For a loss that is linear in the target, two approaches give the same value: mix dense
targets and use the loss unchanged, or keep integer labels and weight one loss term per
source of the mix. The second never materializes one-hot targets.
"""

from mixup_jax.losses._attention import by_attention as by_attention
from mixup_jax.losses._attention import mean as mean
from mixup_jax.losses._targets import binary_targets as binary_targets
from mixup_jax.losses._targets import negative as negative
from mixup_jax.losses._targets import one_hot as one_hot
from mixup_jax.losses._targets import real_and_fake as real_and_fake
from mixup_jax.losses._termwise import ExampleLoss as ExampleLoss
from mixup_jax.losses._termwise import TermwiseLoss as TermwiseLoss
from mixup_jax.losses._termwise import TermwiseMean as TermwiseMean
from mixup_jax.losses._termwise import termwise as termwise
from mixup_jax.losses._termwise import termwise_mean as termwise_mean
