"""Errors of networks on clean and on adversarial examples."""

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
    """Return errors in percent, for white-box and black-box attacks.

    Args:
      apply: function of a network and inputs in [0, 1] that returns logits.
      networks: the parameters of several networks, stacked on axis 0.
      x: inputs.
      labels: integer class ids.
      epsilons: sizes of the attack.
      steps: number of steps of the iterated attack, each of epsilon / 4.

    Returns:
      ``clean [network]`` and ``attacked [epsilon, attack, made with, tested on]``; the
      attacks are FGSM and iterated FGSM.
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
        # Compiled once for both.
        return jax.lax.map(wrong, jnp.stack([once, often]))

    by_epsilon = jax.lax.map(
        lambda epsilon: jax.lax.map(lambda net: from_one(net, epsilon), networks),
        epsilons,
    )
    return wrong(x), jnp.swapaxes(by_epsilon, 1, 2)
