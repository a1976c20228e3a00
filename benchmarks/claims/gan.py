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
from jax import Array
from matplotlib.figure import Figure

import mixup_jax as mx
from benchmarks.claims._engine.claim import Found, Options, Part
from benchmarks.claims._engine.statistics import interval, paired
from benchmarks.claims._networks import small

STD, LATENT, DISCRIMINATOR_STEPS = 0.01, 2, 5
NEAR = 0.1  # distance to a mode; modes are at least 0.5 apart
SAMPLES, SHOWN, LOOKS = 2000, 500, 20
LAST = LOOKS // 4  # evaluations that are averaged, since a GAN fluctuates


def _form(
    amount: float, *, printed: float = 0, both: float = 0, saturating: float = 1
) -> dict[str, float]:
    """Return the settings of one form of the game.

    Args:
      amount: amount of mixing: ``Beta(amount, amount)``, or ``U(0, amount)`` as in the
        authors' code.
      printed: 1 for pairs of a real and a generated example, as in the formula.
      both: 1 if the generator's loss is computed on mixed examples as well.
      saturating: 0 for the non-saturating loss of the generator.
    """
    return {
        "amount": amount,
        "printed": printed,
        "both": both,
        "saturating": saturating,
    }


FORMS = {
    "no mixup": _form(0.0),
    "code, U(0, 0.2)": _form(0.2),
    "printed, Beta(0.2)": _form(0.2, printed=1, both=1),
    "pairs, Beta(0.2)": _form(0.2, printed=1),
    "no mixup, NS": _form(0.0, saturating=0),
    "code, U(0, 0.2), NS": _form(0.2, saturating=0),
}
COMPARED = {
    "code, U(0, 0.2)": "no mixup",
    "printed, Beta(0.2)": "no mixup",
    "pairs, Beta(0.2)": "no mixup",
    "code, U(0, 0.2), NS": "no mixup, NS",
}


def ring() -> Array:
    """Return the 8 modes on the unit circle."""
    angle = jnp.arange(8) * (2 * jnp.pi / 8)
    return jnp.stack([jnp.sin(angle), jnp.cos(angle)], axis=1)


def grid() -> Array:
    """Return the 25 modes on [-1, 1] x [-1, 1]."""
    at = jnp.linspace(-1, 1, 5)
    return jnp.stack(jnp.meshgrid(at, at), axis=-1).reshape(-1, 2)


def draw_real(key: Array, modes: Array, size: int) -> Array:
    """Draw ``size`` examples, each from a random mode."""
    key_mode, key_noise = jax.random.split(key)
    of = jax.random.randint(key_mode, (size,), 0, len(modes))
    return modes[of] + STD * jax.random.normal(key_noise, (size, 2))


def mixer(setting: Mapping[str, Any], size: int) -> mx.Mixer:
    """Return the mixer of a form; an amount of 0 disables mixing."""
    as_printed = functools.partial(
        mx.mixup,
        alpha=setting["amount"],
        pairing=functools.partial(mx.pairings.roll, shift=size),
    )
    as_coded = functools.partial(
        mx.mixup,
        ratio=mx.ratios.uniform(low=1 - setting["amount"]),
        pairing=mx.pairings.permutation,
    )
    printed = setting["printed"]
    return mx.choose([as_printed, as_coded], [printed, 1 - printed])


def samples(
    setting: Mapping[str, Any], modes: Array, *, width: int, batch: int, steps: int
) -> dict[str, Array]:
    """Train one GAN; return its coverage over time, and its final samples."""
    keys = jax.random.split(jax.random.key(setting["seed"]), 4)
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

    tell = mx.training.train_step(entropy, mixer(setting, batch))
    of_both = mixer({**setting, "amount": setting["both"] * setting["amount"]}, batch)

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
            return jnp.where(setting["saturating"], minimax, other)

        of_made = of_made.apply_gradients(grads=jax.grad(fooled)(of_made.params))
        return (of_made, of_told), None

    def look(states: Any, key: Array) -> tuple[Any, tuple[Array, Array]]:
        states, _ = jax.lax.scan(step, states, jax.random.split(key, steps // LOOKS))
        return states, coverage(made(states[0].params, key_seen, SAMPLES), modes)

    states = tuple(
        mx.training.TrainState.create(
            net.init(key, jnp.zeros((1, d))), optax.adam(1e-3)
        )
        for net, d, key in ((generator, LATENT, key_made), (discriminator, 2, key_told))
    )
    states, (near, hit) = jax.lax.scan(look, states, jax.random.split(key_steps, LOOKS))
    return {"near": near, "hit": hit, "last": made(states[0].params, key_seen, SHOWN)}


def coverage(x: Array, modes: Array) -> tuple[Array, Array]:
    """Return the percentage of ``x`` near a mode, and the number of modes hit.

    A mode is hit if it has a tenth of the samples due to it.
    """
    near = jnp.sum((x[:, None] - modes) ** 2, axis=-1) < NEAR**2
    due = len(x) / len(modes)
    return 100 * near.any(axis=1).mean(), jnp.sum(near.sum(axis=0) > due / 10)


Sides = dict[str, list[dict[str, Any]]]


def run(options: Options) -> Found:
    seeds = options.seed_count(5, full=10)
    width, batch, steps = options.size(
        (64, 64, 3000), quick=(16, 32, 200), full=(512, 128, 20_000)
    )
    found = {
        "ring": _one_set("ring", ring(), options, seeds, width, batch, steps),
        "grid": _one_set("grid", grid(), options, seeds, width, batch, steps),
    }
    rows = [row for name, sides in found.items() for row in _rows(name, sides)]
    parts = [
        Part(
            f"{name}: {better} with {form} than with {without}",
            paired(_late(sides[form], measure), _late(sides[without], measure)),
            unit,
        )
        for measure, better, unit in (
            ("near", "more samples near a mode", "points"),
            ("hit", "more modes hit", "modes"),
        )
        for name, sides in found.items()
        for form, without in COMPARED.items()
    ]
    protocol = [
        f"generator and discriminator 3 x {width} ReLU, {LATENT} Gaussian latents, "
        "Adam 1e-3",
        f"{steps} generator steps, {DISCRIMINATOR_STEPS} discriminator steps before "
        f"each, batches of {batch}",
        "the generator maximizes the discriminator's loss (minimax, as in the authors' "
        "code), on mixed examples in the printed form, otherwise on its own; with NS, "
        "it maximizes the probability of passing as real (non-saturating)",
        f"near: within {NEAR} of a mode (std {STD}); hit: with a tenth of its share of "
        f"{SAMPLES} samples",
        f"means over the last {LAST} of {LOOKS} evaluations; {seeds} seeds, the same "
        "initial parameters for all forms",
        "code: the pool of real and generated examples is mixed with a permutation of "
        "itself, with uniform weights; printed: each real example is mixed with a "
        "generated one, with weights Beta(alpha, alpha), for both networks; pairs: the "
        "same for the discriminator only",
    ]
    notes = [
        "The paper shows samples after 20 000 batches with 3 x 512 units, but no "
        "numbers; its text states alpha 0.2, its code draws the partner's weight from "
        "U(0, 0.2).",
        "The authors' code draws a second pool to mix with; here it is the same pool, "
        "permuted.",
    ]
    shown = {"samples of the generator": rows}
    return Found(protocol, shown, parts, _picture(found), notes)


def _one_set(
    name: str,
    modes: Array,
    options: Options,
    seeds: int,
    width: int,
    batch: int,
    steps: int,
) -> Sides:
    """Return the result of each seed, by form."""
    settings = [
        {"seed": seed, **form} for form in FORMS.values() for seed in range(seeds)
    ]
    sizes = {"width": width, "batch": batch, "steps": steps}
    results = options.runs.many(
        name,
        functools.partial(samples, modes=modes, **sizes),
        settings,
        chunk=options.size(seeds, quick=100, full=50),
    )
    return {form: results[k * seeds : (k + 1) * seeds] for k, form in enumerate(FORMS)}


def _late(results: list[dict[str, Any]], name: str) -> list[float]:
    return [float(np.mean(each[name][-LAST:])) for each in results]


def _rows(name: str, sides: Sides) -> list[dict[str, Any]]:
    return [
        {
            "modes": name,
            "method": form,
            "near a mode, %": interval(_late(results, "near")),
            "modes hit": interval(_late(results, "hit")),
            "each seed: near, %": _each(results, "near"),
            "each seed: hit": _each(results, "hit"),
        }
        for form, results in sides.items()
    ]


def _each(results: list[dict[str, Any]], name: str) -> str:
    return " ".join(f"{value:.0f}" for value in sorted(_late(results, name)))


def _picture(found: Mapping[str, Sides]) -> Figure:
    figure = Figure(figsize=(2.2 * len(FORMS) + 2.6, 5), layout="constrained")
    axes = figure.subplots(len(found), len(FORMS) + 1)
    for row, (name, modes), sides in zip(
        axes, (("ring", ring()), ("grid", grid())), found.values()
    ):
        for axis, (form, results) in zip(row, sides.items()):
            # The median seed: neither the best nor the worst.
            order = np.argsort(_late(results, "near"))
            x = np.asarray(results[order[len(order) // 2]]["last"])
            axis.plot(*np.asarray(modes).T, "o", ms=9, mfc="none", mec="C0")
            axis.plot(*x.T, ".", ms=2, color="C1", alpha=0.6)
            axis.set(xlim=(-1.5, 1.5), ylim=(-1.5, 1.5), xticks=[], yticks=[])
            axis.set_aspect("equal")
            near, hit = (np.mean(_late(results, of)) for of in ("near", "hit"))
            said = f"{name}: {form}\n{near:.0f}% near, {hit:.1f} modes hit"
            axis.set_title(said, fontsize=9)
            looks = np.mean([each["hit"] for each in results], axis=0)
            row[-1].plot(np.arange(1, LOOKS + 1) / LOOKS, looks, label=form)
        row[-1].axhline(len(modes), color="gray", lw=1, ls="--")
        row[-1].set(xlabel="share of the training", ylabel="modes hit", ylim=(0, None))
    handles, labels = axes[0, -1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower right", ncols=len(FORMS))
    return figure
