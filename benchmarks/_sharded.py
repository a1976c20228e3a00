"""The sharded train step with each kind of mixing: ours, naive, none."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.export
import jax.numpy as jnp

import mixup_jax as mx
from benchmarks._cases import scaled as from_bytes
from benchmarks.models import KEY, Model, dense, initial_state, loss_of

AXIS = "data"
DTYPE = jnp.bfloat16
ours = partial(mx.mixup, alpha=0.2)
of_three = partial(mx.dirichlet, partners=3)


def cast_before(mixer: Callable, key: jax.Array, batch: Any) -> Any:
    """Cast uint8 images first, then mix them."""
    images, labels = batch
    return mixer(key, (from_bytes(images), labels))


def pasted(key: jax.Array, batch: Any) -> Any:
    """Mix naively, with a random permutation and ``jax.random.beta``."""
    images, labels = batch
    key_lam, key_partner = jax.random.split(key)
    lam = jax.random.beta(key_lam, 0.2, 0.2, (images.shape[0],))
    partner = jax.random.permutation(key_partner, images.shape[0])
    w = lam[:, None, None, None].astype(images.dtype)
    images = w * images + (1 - w) * images[partner]
    labels = lam[:, None] * labels + (1 - lam)[:, None] * labels[partner]
    return (images, labels), None


def big_vision(key: jax.Array, batch: Any) -> Any:
    """Mix by big_vision's formula: one lam per batch, each with the example before."""
    lam = jax.random.beta(key, 0.2, 0.2)
    lam = jnp.maximum(lam, 1 - lam)

    def mix(x: jax.Array) -> jax.Array:
        w = lam.astype(x.dtype)
        return w * x + (1 - w) * jnp.roll(x, 1, axis=0)

    return jax.tree.map(mix, batch), None


def scaled(key: jax.Array, batch: Any) -> Any:
    """Scale each image by a random number: the least that any mixing costs."""
    images, labels = batch
    w = jax.random.uniform(key, (images.shape[0], 1, 1, 1)).astype(images.dtype)
    return (w * images, labels), None


def on_shares(mixer: Callable) -> Callable:
    """Return ``mixer`` applied to each device's shard separately."""

    def mixed(key: jax.Array, batch: Any) -> Any:
        def on_share(key: jax.Array, batch: Any) -> Any:
            key = jax.random.fold_in(key, jax.lax.axis_index(AXIS))
            return mixer(key, batch)[0]

        specs = {"in_specs": (jax.P(), jax.P(AXIS)), "out_specs": jax.P(AXIS)}
        return jax.shard_map(on_share, **specs)(key, batch), None

    return mixed


MIXERS: dict[str, Callable] = {
    "no mixing": mx.erm,
    "images scaled, the floor": on_shares(scaled),
    "mixup, a share": on_shares(ours),
    "mixup, permuted, a share": on_shares(
        partial(ours, pairing=mx.pairings.permutation)
    ),
    "cutmix, a share": on_shares(mx.cutmix),
    "mixup, jit": ours,
    "cutmix, jit": mx.cutmix,
    "pasted, a share": on_shares(pasted),
    "pasted, jit": pasted,
    "big_vision, a share": on_shares(big_vision),
    "resizemix, jit": mx.resizemix,
    "resizemix or mixup, jit": mx.choose([mx.resizemix, ours], [0.5, 0.5]),
    "dirichlet of two, jit": mx.dirichlet,
    "dirichlet of three, jit": of_three,
    "dirichlet of three or mixup, jit": mx.choose([of_three, ours], [0.5, 0.5]),
    "saliencymix, jit": mx.saliencymix,
    "smoothmix, jit": mx.smoothmix,
    "mixup, in_shardings alone": ours,
    "mixup, exported": ours,
}
OF_BYTES: dict[str, Callable] = {
    "bytes, cast, no mixing": mx.cast_inputs(mx.erm, from_bytes),
    "bytes, cast in mixup, jit": mx.cast_inputs(ours, from_bytes),
    "bytes, cast in cutmix, jit": mx.cast_inputs(mx.cutmix, from_bytes),
    "bytes, cast in resizemix, jit": mx.cast_inputs(mx.resizemix, from_bytes),
    "bytes, cast before mixup, jit": partial(cast_before, ours),
}
MIXERS |= OF_BYTES


def with_mesh(step: Callable, mesh: jax.sharding.Mesh, given: Any) -> Any:
    """Lower a step traced with its mesh in the context."""
    with jax.set_mesh(mesh):
        return jax.jit(step, donate_argnums=0).lower(*given)


def without_mesh(step: Callable, mesh: jax.sharding.Mesh, given: Any) -> Any:
    """Lower a step traced without a mesh, knowing only the devices of this host."""
    del mesh
    return jax.jit(step, donate_argnums=0).lower(*given)


def exported(step: Callable, mesh: jax.sharding.Mesh, given: Any) -> Any:
    """Lower a call of the exported step, which was traced without a mesh."""
    del mesh
    export = jax.export.export(jax.jit(step, donate_argnums=0), platforms=("tpu",))
    return jax.jit(export(*given).call, donate_argnums=0).lower(*given)


WAYS = {"mixup, in_shardings alone": without_mesh, "mixup, exported": exported}


def lowered(name: str, model: Model, mesh: jax.sharding.Mesh) -> Any:
    """Lower the train step with one of ``MIXERS`` for a mesh."""
    images = jnp.uint8 if name in OF_BYTES else DTYPE
    step, given = step_of(model, MIXERS[name], mesh, images=images)
    return WAYS.get(name, with_mesh)(step, mesh, given)


def step_of(
    model: Model,
    mixer: Callable,
    mesh: jax.sharding.Mesh,
    *,
    dtype: Any = DTYPE,
    images: Any = None,
) -> tuple[Callable, Any]:
    """Return the train step with a mixer, and its arguments with a sharded batch.

    Args:
      model: the model to train.
      mixer: mixes the batch; anything else that it returns is ignored.
      mesh: a mesh with the single axis ``AXIS``.
      dtype: dtype that the model computes in.
      images: dtype of the images; default ``dtype``.
    """

    def mixed(key: jax.Array, batch: Any) -> Any:
        pair, own = (batch["image"], batch["label"]), mixer
        if mixer is mx.saliencymix:
            own = partial(mixer, saliency=batch["saliency"])
        (image, label), _ = own(key, pair)
        # Some mixers return no mix, and the loss does not use it.
        return {"image": image, "label": label}, mx.draw_of(mx.erm)(key, pair)

    step = mx.training.train_step(loss_of(model, dtype, dense), mixed)
    whole, shared = (jax.NamedSharding(mesh, spec) for spec in (jax.P(), jax.P(AXIS)))

    def like(leaf: Any, sharding: Any) -> Any:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    state = jax.eval_shape(partial(initial_state, model, dtype), KEY)
    size = model.batch * mesh.size
    batch = {
        "image": jax.ShapeDtypeStruct(
            (size, *model.image), images or dtype, sharding=shared
        ),
        "label": jax.ShapeDtypeStruct(
            (size, model.classes), jnp.float32, sharding=shared
        ),
        # The compiler drops it from steps that do not use it.
        "saliency": jax.ShapeDtypeStruct(
            (size, *model.image[:-1]), jnp.float32, sharding=shared
        ),
    }
    state = jax.tree.map(partial(like, sharding=whole), state)
    return step, (state, like(KEY, whole), batch)
