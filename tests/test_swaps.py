"""The diffs on the pages for newcomers: both sides make the same batch, bit for bit.

Each side is run as it is on the page. The functions of other libraries are replaced by
their formulas, which get the ``lam`` that our side drew in place of a key.
"""

import re
import types
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import mixup_jax as mx
from tests.test_coming import text_of


def sides(name: str, number: int = 0) -> tuple[str, str]:
    """Return a diff of a page as it was before, and after."""
    diffs = re.findall(r"^```diff\n(.*?)^```", text_of(name), re.S | re.M)
    lines = diffs[number].splitlines()
    before, after = (
        "\n".join(line[1:] for line in lines if not line.startswith(other))
        for other in "+-"
    )
    return before, after


def as_function(source: str, arguments: str, returned: str, names: dict[str, Any]):
    """Return a function with ``source`` as its body."""
    body = "\n    ".join(source.splitlines())
    code = f"def swapped({arguments}):\n    {body}\n    return {returned}\n"
    names = {"jax": jax, "mx": mx, "partial": partial, **names}
    exec(code, names)
    return names["swapped"]


def blended(tree: Any, lam: Any, theirs: Callable[[Any], Any]) -> Any:
    """Return ``lam * x + (1 - lam) * x[partner]`` as other libraries write it."""
    return jax.tree.map(lambda x: lam * x + (1.0 - lam) * theirs(x), tree)


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def same_bits(a: Any, b: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, a, b)


CONFIG = types.SimpleNamespace(mixup=types.SimpleNamespace(p=0.2, alpha=0.2))


def test_the_swap_of_big_vision():
    def get_mixup(lam, p):  # takes our lam in place of a key
        del p

        def mixup(*things):
            rolled = blended(things, lam, lambda x: jnp.roll(x, 1, axis=0))
            return lam, rolled, {}

        return mixup

    mesh = jax.sharding.Mesh(jax.devices()[:4], ("data",))
    names = {"config": CONFIG, "mesh": mesh, "P": jax.P, "shard_map": jax.shard_map}
    names["u"] = types.SimpleNamespace(get_mixup=get_mixup)
    before, after = sides("big_vision")
    batch = numbers(16, 6, 6, 3), numbers(16, 5)
    results = "(images, labels)"
    ours = as_function(after, "rng, images, labels", results + ", mix", names)
    theirs = as_function(before, "rng, images, labels", results, names)
    with jax.numpy_dtype_promotion("standard"):
        mixed, mix = jax.jit(ours)(jax.random.key(0), *batch)
        (lam,) = np.unique(mix.lam)
        same_bits(mixed, jax.jit(theirs)(jnp.float32(lam), *batch))
    assert 0.5 <= lam < 1
    lines = sides("big_vision", 1)[1]
    ours = as_function(lines, "rng, images, labels", results + ", mix", names)
    (images, _), mix = ours(jax.random.key(0), *batch)
    same_bits(images, mix.inputs(batch[0]))


def test_the_swap_of_scenic():
    def mixup(batch, alpha, rng):  # takes our lam in place of a key
        del alpha
        return blended(batch, rng, lambda x: x[::-1])

    def bind_rng_to_host_device(rng, axis_name, bind_to):
        del axis_name, bind_to
        return rng

    names = {
        "config": CONFIG,
        "dataset_utils": types.SimpleNamespace(mixup=mixup),
        "train_utils": types.SimpleNamespace(
            bind_rng_to_host_device=bind_rng_to_host_device
        ),
    }
    before, after = sides("scenic")
    batch = {"inputs": numbers(2, 4, 6, 6, 3), "label": numbers(2, 4, 5)}
    ours = as_function(after, "batch, mixup_rng", "batch, mix", names)
    theirs = as_function(before, "batch, mixup_rng", "batch", names)
    with jax.numpy_dtype_promotion("standard"):
        run = jax.vmap(ours, (0, None), axis_name="batch")
        mixed, mix = jax.jit(run)(batch, jax.random.key(0))
        lam = mix.lam[:, 0]
        assert lam[0] != lam[1]
        same_bits(mixed, jax.jit(jax.vmap(theirs))(batch, lam))


def test_the_swap_of_deit3_jax():
    batch = numbers(8, 6, 6, 3), numbers(8, 5)
    args = types.SimpleNamespace(mixup=0.8, cutmix=1.0)
    made, made_ours = sides("deit3_jax")
    called, called_ours = sides("deit3_jax", 1)
    ours = as_function(
        called_ours,
        "self, images, labels",
        "(images, labels), mix",
        {},
    )
    theirs = as_function(called, "self, images, labels", "images, labels", {})
    pasted = []
    for seed in range(8):
        key = jax.random.key(seed)
        mixer = as_function(made_ours, "args", "mixup", {})(args)
        module = types.SimpleNamespace(mixup=mixer, make_rng=lambda _, key=key: key)
        mixed, mix = jax.jit(partial(ours, module))(*batch)
        share = mix.terms(batch[0], like=batch[0])[0][0]
        lam = mix.lam[:, None]

        def mixup(images, labels, mix=mix, share=share, lam=lam):
            return (
                share * images + (1 - share) * images[mix.partner],
                lam * labels + (1 - lam) * labels[mix.partner],
            )

        names = {"Mixup": lambda mixup_alpha, cutmix_alpha, of=mixup: of}
        module = types.SimpleNamespace(
            mixup=as_function(made, "args", "mixup", names)(args)
        )
        other = np.asarray(mix.partner) != np.arange(8)
        for a, b in zip(mixed, jax.jit(partial(theirs, module))(*batch)):
            np.testing.assert_array_equal(a[other], b[other])
            np.testing.assert_allclose(a, b, rtol=1e-6)  # others may be rounded
        pasted.append(bool(((share == 0) | (share == 1)).all()))
    assert len(set(pasted)) == 2


def test_what_is_added_to_flax():
    before, after = sides("flax")

    class Model(nnx.Module):
        def __init__(self):
            self.linear = nnx.Linear(12, 10, rngs=nnx.Rngs(0))

        def __call__(self, x):
            return self.linear(x.reshape(len(x), -1))

    def trained(source: str, *key: Any) -> Any:
        names = {"jax": jax, "mx": mx, "partial": partial, "nnx": nnx, "optax": optax}
        exec(source, names)
        model = Model()
        optimizer = nnx.Optimizer(model, optax.sgd(0.1), wrt=nnx.Param)
        metrics = nnx.MultiMetric(loss=nnx.metrics.Average("loss"))
        batch = {"image": numbers(8, 3, 4), "label": np.arange(8)}
        names["train_step"](model, optimizer, metrics, batch, *key)
        return jax.tree.leaves(nnx.state(model)), metrics.compute()

    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        plain = trained(before)
        key = jax.random.key(0)
        same_bits(trained(after.replace("alpha=0.2", "alpha=0.0"), key), plain)
        _, mixed = trained(after, key)
    assert mixed["loss"] != plain[1]["loss"]


def test_what_is_added_to_keras():
    fitted = []
    model = types.SimpleNamespace(fit=lambda batches: fitted.append(list(batches)))
    x = numbers(4, 5)
    batches = [(x, x), (2 * x, 2 * x)]
    before, after = sides("keras")
    for source in (before, after.replace("alpha=0.2", "alpha=0.0"), after):
        names = {"jax": jax, "mx": mx, "partial": partial}
        exec(source, {**names, "model": model, "batches": batches})
    plain, same, mixed = fitted
    same_bits(same, plain)
    for (images, labels), (unmixed, _) in zip(mixed, batches):
        np.testing.assert_array_equal(images, labels)
        assert not np.array_equal(images, unmixed)
    assert not np.array_equal(mixed[0][0] * 2, mixed[1][0])  # another draw
