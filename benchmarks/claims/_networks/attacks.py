"""How often networks err, on examples and on those made to fool one of them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

import mixup_jax as mx
from benchmarks.claims._networks import training


def errors(
    apply: Callable[[Any, Array], Any],
    networks: Any,
    x: Array,
    labels: Array,
    *,
    epsilons: Array,
    steps: int,
) -> tuple[Array, Array]:
    """Return errors in percent, with a white and a black box for each network.

    Args:
      apply: a network and inputs in [0, 1] to logits.
      networks: stacked on axis 0.
      x: the inputs.
      labels: int, the true ones.
      epsilons: sizes of the attack.
      steps: of the iterated attack, each of epsilon / 4.

    Returns:
      ``clean [network]`` and ``attacked [epsilon, attack, made with, tested on]``; the
      attacks are FGSM and the iterated one.
    """

    def wrong(x: Array) -> Array:
        return jax.lax.map(
            lambda each: training.error(apply(each, x), labels), networks
        )

    def from_one(network: Any, epsilon: Array) -> Array:
        def loss(x: Array) -> Array:
            logits = apply(network, x)
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels)

        how = {"epsilon": epsilon, "bounds": (0, 1)}
        once = mx.attacks.fgsm(loss, x, **how)
        often = mx.attacks.iterated_fgsm(loss, x, **how, step=epsilon / 4, steps=steps)
        return jnp.stack([wrong(once), wrong(often)])

    by_epsilon = jax.lax.map(
        lambda epsilon: jax.lax.map(lambda net: from_one(net, epsilon), networks),
        epsilons,
    )
    return wrong(x), jnp.swapaxes(by_epsilon, 1, 2)
