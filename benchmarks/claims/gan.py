"""Mixup stabilizes the training of GANs (Figure 5).

Zhang et al., "mixup", ICLR 2018, arXiv:1710.09412, section 3.7, and the authors' code:
a ring of 8 Gaussians and a grid of 25; the generator should cover all of them. The
paper shows samples and gives no numbers.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
from jax import Array
from matplotlib.figure import Figure

import mixup_jax as mx
from benchmarks.claims._engine import analysis
from benchmarks.claims._engine.claim import (
    Claim,
    Numbers,
    Options,
    Program,
    Protocol,
    more,
    titled,
)
from benchmarks.claims._engine.statistics import Independent
from benchmarks.claims._networks import small
from benchmarks.claims._networks.recipes import Adam

STD, LATENT, DISCRIMINATOR_STEPS = 0.01, 2, 5
NEAR = 0.1  # distance to a mode; modes are at least 0.5 apart
SAMPLES, SHOWN, LOOKS = 2000, 200, 20
LAST = LOOKS // 4  # evaluations that are averaged, since a GAN fluctuates
ADAM = Adam(1e-3)


# Mixing by Beta(amount, amount), or by U(0, amount) as in the authors' code; 1 for
# pairs of a real and a generated example, as in the formula; 1 if the generator's loss
# is computed on mixed examples as well; 0 for its non-saturating loss.
GAME = {"amount": 0.0, "printed": 0, "both": 0, "saturating": 1}
WITHOUT, CODE, NS = "without Mixup", "the authors' code, U(0, 0.2)", ", NS"
PRINTED, PAIRS = "the printed form, Beta(0.2)", "pairs, Beta(0.2)"
FORMS = {
    WITHOUT: GAME,
    CODE: {**GAME, "amount": 0.2},
    PRINTED: {**GAME, "amount": 0.2, "printed": 1, "both": 1},
    PAIRS: {**GAME, "amount": 0.2, "printed": 1},
    WITHOUT + NS: {**GAME, "saturating": 0},
    CODE + NS: {**GAME, "amount": 0.2, "saturating": 0},
}
COMPARED = {CODE: WITHOUT, PRINTED: WITHOUT, PAIRS: WITHOUT, CODE + NS: WITHOUT + NS}


def ring() -> np.ndarray:
    """Return the 8 modes on the unit circle."""
    angle = np.arange(8) * (2 * np.pi / 8)
    return np.stack([np.sin(angle), np.cos(angle)], axis=1, dtype=np.float32)


def grid() -> np.ndarray:
    """Return the 25 modes on [-1, 1] x [-1, 1]."""
    at = np.linspace(-1, 1, 5, dtype=np.float32)
    return np.stack(np.meshgrid(at, at), axis=-1).reshape(-1, 2)


MODES = {"ring": ring, "grid": grid}


def draw_real(key: Array, modes: Array, size: int) -> Array:
    """Draw ``size`` examples, each from a random mode."""
    key_mode, key_noise = jax.random.split(key)
    of = jax.random.randint(key_mode, (size,), 0, len(modes))
    return modes[of] + STD * jax.random.normal(key_noise, (size, 2))


def mixer(numbers: Numbers, size: int) -> mx.Mixer:
    """Return the mixer of a form; an amount of 0 disables mixing."""
    as_printed = functools.partial(
        mx.mixup,
        alpha=numbers["amount"],
        pairing=functools.partial(mx.pairings.roll, shift=size),
    )
    as_coded = functools.partial(
        mx.mixup,
        ratio=mx.ratios.uniform(low=1 - numbers["amount"]),
        pairing=mx.pairings.permutation,
    )
    printed = numbers["printed"]
    return mx.choose([as_printed, as_coded], [printed, 1 - printed])


def samples(
    numbers: Numbers, modes: Array, *, width: int, batch: int, steps: int
) -> dict[str, Array]:
    """Train one GAN; return its late coverage, and its final samples."""
    keys = jax.random.split(jax.random.key(numbers["seed"]), 4)
    key_made, key_told, key_steps, key_seen = keys
    generator = small.MLP((width,) * 3, 2)
    discriminator = small.MLP((width,) * 3, 1)

    def made(params: Any, key: Array, size: int) -> Array:
        noise = jax.random.normal(key, (size, LATENT))
        return jnp.asarray(generator.apply(params, noise))

    def entropy(
        told: Any, examples: mx.Batch, _: mx.Mix
    ) -> tuple[Array, dict[str, Any]]:
        x, y = examples
        logits = jnp.asarray(discriminator.apply(told, x))[:, 0]
        return optax.sigmoid_binary_cross_entropy(logits, y).mean(), {}

    tell = mx.training.train_step(entropy, mixer(numbers, batch))
    of_both = mixer({**numbers, "amount": numbers["both"] * numbers["amount"]}, batch)

    def step(states: Any, key: Array) -> tuple[Any, None]:
        of_made, of_told = states
        key_rounds, key_real, key_made, key_mix = jax.random.split(key, 4)

        def told(state: Any, key: Array) -> tuple[Any, None]:
            key_real, key_made, key_mix = jax.random.split(key, 3)
            real = draw_real(key_real, modes, batch)
            fake = made(of_made.params, key_made, batch)
            state, _ = tell(state, key_mix, mx.losses.real_and_fake(real, fake))
            return state, None

        of_told, _ = jax.lax.scan(
            told, of_told, jax.random.split(key_rounds, DISCRIMINATOR_STEPS)
        )

        def fooled(params: Any) -> Array:
            real = draw_real(key_real, modes, batch)
            fake = made(params, key_made, batch)
            # Unmixed real examples have no gradient, and Adam is scale-invariant.
            mixed, mix = of_both(key_mix, mx.losses.real_and_fake(real, fake))
            minimax = -entropy(of_told.params, mixed, mix)[0]
            logits = jnp.asarray(discriminator.apply(of_told.params, fake))[:, 0]
            as_real = jnp.ones_like(logits)
            other = optax.sigmoid_binary_cross_entropy(logits, as_real).mean()
            return jnp.where(numbers["saturating"], minimax, other)

        of_made = of_made.apply_gradients(grads=jax.grad(fooled)(of_made.params))
        return (of_made, of_told), None

    def look(states: Any, key: Array) -> tuple[Any, tuple[Array, Array]]:
        states, _ = jax.lax.scan(step, states, jax.random.split(key, steps // LOOKS))
        return states, coverage(made(states[0].params, key_seen, SAMPLES), modes)

    states = tuple(
        mx.training.TrainState.create(net.init(key, jnp.zeros((1, d))), ADAM.tx(steps))
        for net, d, key in ((generator, LATENT, key_made), (discriminator, 2, key_told))
    )
    states, (near, hit) = jax.lax.scan(look, states, jax.random.split(key_steps, LOOKS))
    return {
        "near": near[-LAST:].mean(),
        "hit": hit[-LAST:].mean(),
        "last": made(states[0].params, key_seen, SHOWN),
    }


def coverage(x: Array, modes: Array) -> tuple[Array, Array]:
    """Return the percentage of ``x`` near a mode, and the number of modes hit.

    A mode is hit if it has a tenth of the samples due to it.
    """
    near = jnp.sum((x[:, None] - modes) ** 2, axis=-1) < NEAR**2
    due = len(x) / len(modes)
    return 100 * near.any(axis=1).mean(), jnp.sum(near.sum(axis=0) > due / 10)


def claim(options: Options) -> Claim:
    width, batch, steps = options.size(
        (64, 64, 3000), quick=(16, 32, 200), full=(512, 128, 20_000)
    )
    protocol = Protocol(
        data=f"8 Gaussians on a ring, or 25 on a grid, of standard deviation {STD}",
        networks=f"generator and discriminator of 3 x {width} ReLU, {LATENT} Gaussian "
        "latents",
        recipe=f"{ADAM}; {steps} generator steps, {DISCRIMINATOR_STEPS} discriminator "
        f"steps before each, batches of {batch}",
        arms=FORMS,
        seeds=options.count(5, full=10),
        sampling=Independent(
            "each draws its own samples and initial parameters, the latter the same in "
            "all arms"
        ),
        remarks=[
            "a GAN has no training error, so the condition on the fit does not apply",
            "the generator maximizes the discriminator's loss (minimax, as in the "
            "authors' code), on mixed examples in the printed form, otherwise on its "
            "own; with NS, it maximizes the probability of passing as real "
            "(non-saturating)",
            "the authors' code: the pool of real and generated examples is mixed with "
            "a permutation of itself, with uniform weights; the printed form: each "
            "real example is mixed with a generated one, with weights Beta(alpha, "
            "alpha), for both networks; pairs: the same for the discriminator only",
            f"near: within {NEAR} of a mode; hit: with a tenth of its share of "
            f"{SAMPLES} samples; means over the last {LAST} of {LOOKS} evaluations",
        ],
    )
    return Claim(
        *titled(__doc__),
        protocol=protocol,
        programs=functools.partial(
            _programs, protocol, {"width": width, "batch": batch, "steps": steps}
        ),
        statements=[
            more(
                f"{name}: {words} with {form} than {without}",
                form,
                without,
                name,
                of=measure,
                unit=unit,
                primary=(name, form, measure) == ("ring", CODE, "near"),
            )
            for measure, words, unit in (
                ("near", "more samples near a mode", "points"),
                ("hit", "more modes hit", "modes"),
            )
            for name in MODES
            for form, without in COMPARED.items()
        ],
        measures={"near": "near a mode, %", "hit": "modes hit"},
        fit=None,
        notes=[
            "The paper shows samples after 20,000 batches with 3 x 512 units, but no "
            "numbers; its text states alpha 0.2, its code draws the partner's weight "
            "from U(0, 0.2).",
            "The authors' code draws a second pool to mix with; here it is the same "
            "pool, permuted.",
        ],
        picture=picture,
    )


def _programs(
    protocol: Protocol, sizes: Mapping[str, int], options: Options
) -> list[Program]:
    return [
        Program(
            name,
            functools.partial(samples, **sizes),
            protocol.runs(options, {name: {}}),
            modes(),
            together=options.size(5, quick=4, full=50),
        )
        for name, modes in MODES.items()
    ]


def picture(table: pd.DataFrame, arrays: Mapping[str, np.ndarray]) -> Figure:
    """Return the last samples of each form's median seed."""
    figure = Figure(figsize=(2.3 * len(FORMS), 5.6), layout="constrained")
    axes = figure.subplots(len(MODES), len(FORMS), sharex=True, sharey=True)
    for row, (name, modes) in zip(axes, MODES.items()):
        for axis, form in zip(row, FORMS):
            near = analysis.values(table, "near", form, name).to_numpy()
            median = np.argsort(near)[len(near) // 2]
            x = arrays[f"last/{form}/{name}"][median]
            axis.plot(*modes().T, "o", ms=9, mfc="none", mec="C0", label="modes")
            axis.plot(*x.T, ".", ms=3, color="C1", alpha=0.6, label="samples")
            axis.set_title(f"{name}\n{form}", fontsize=9)
            axis.set_aspect("equal")
    axes[0, 0].set(xlim=(-1.5, 1.5), ylim=(-1.5, 1.5))
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure
