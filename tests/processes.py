"""Programs of several processes on one mesh, and arrays that span them outside jit.

Run by tests/test_processes.py, once for each process:

    python -m tests.processes PORT PROCESSES PROCESS FILE

Each process writes its results to FILE. A single process runs ``on_mesh``, too.
"""

import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import mixup_jax as mx

DEVICES = 4
AXES = ("data", "fsdp")  # both divide the batch, and ``fsdp`` divides the state
SIZE, CLASSES, STEPS = 16, 3, 2
X = np.random.default_rng(0).random((SIZE, 4, 4, 2), np.float32)
LABELS = np.arange(SIZE, dtype=np.int32) % CLASSES
PARTNER = np.roll(np.arange(SIZE, dtype=np.int32), 3)
LAM = np.linspace(0, 1, SIZE, dtype=np.float32)
HOT = np.eye(CLASSES, dtype=np.float32)[LABELS]
MIXERS = {
    "mixup": mx.mixup,
    "cutmix": mx.cutmix,
    "fmix": mx.fmix,
    "choose": mx.choose([partial(mx.mixup, alpha=0.4), mx.cutmix], [0.5, 0.5]),
    "same_class": partial(mx.mixup, pairing=mx.pairings.same_class),
}
FEW = ("choose",)  # the cases that run by default
SAID: list[str] = []


def spread(mesh: jax.sharding.Mesh, values: Any, spec: jax.P) -> jax.Array:
    """Return a global array, sharded or replicated over all processes' devices."""
    values, sharding = np.asarray(values), jax.NamedSharding(mesh, spec)
    return jax.make_array_from_callback(values.shape, sharding, lambda i: values[i])


def names(processes: int) -> Sequence[str]:
    return FEW if processes == 2 else [*MIXERS]


def mixed(names: Sequence[str], key: Any, batch: Any) -> Any:
    return {name: parts(MIXERS[name](key, batch)) for name in names}


def parts(found: Any) -> Any:
    (x, hot), mix = found
    return x, hot, mix.lam, mix.partner


def new_state() -> mx.training.TrainState:
    params = {"w": np.full((X[0].size, CLASSES), 0.1, np.float32)}
    return mx.training.TrainState.create(params, optax.sgd(0.1, momentum=0.9))


def train_step() -> Any:
    def loss(params, batch, mix):
        x, hot = batch
        logits = x.reshape(SIZE, -1) @ params["w"]
        return jnp.mean(optax.losses.softmax_cross_entropy(logits, hot)), {
            "lam": mix.lam,
            "partner": mix.partner,
        }

    return mx.training.train_step(loss, MIXERS["choose"])


def on_mesh(mesh: jax.sharding.Mesh, names: Sequence[str]) -> dict[str, Any]:
    """Return the result of every driver, as global arrays."""
    divided, everywhere = jax.P(AXES), jax.P()
    batch = spread(mesh, X, divided), spread(mesh, HOT, divided)
    key = spread(mesh, jax.random.key_data(jax.random.key(0)), everywhere)

    def shared(key, batch):
        found = {}
        for around in (mx.per_device, mx.whole_batch):
            mixer = around(MIXERS["choose"], AXES)
            found[around.__name__] = jax.shard_map(
                lambda key, batch, mixer=mixer: parts(mixer(key, batch)),
                mesh=mesh,
                in_specs=(everywhere, divided),
                out_specs=divided,
            )(key, batch)
        return {"jit": mixed(names, key, batch), **found}

    found: dict[str, Any] = jax.jit(shared)(key, batch)
    first = jax.process_index() * SIZE // jax.process_count()
    own = slice(first, first + SIZE // jax.process_count())
    run = mx.training.sharded(train_step(), mesh, axis_name=AXES)
    for name, fed in {"own part": (X[own], HOT[own]), "whole": batch}.items():
        state = jax.tree.map(partial(laid_out, mesh), new_state())
        for step in range(STEPS):
            state, metrics = run(state, jax.random.key(1), fed)
            found[f"{name}, step {step}"] = dict(metrics)
            assert state.params["w"].sharding.spec == jax.P("fsdp")
            assert state.params["w"].addressable_shards[0].data.shape == (16, CLASSES)
        found[name] = state.params["w"]
    whole = jax.NamedSharding(mesh, everywhere)
    found = jax.jit(lambda tree: tree, out_shardings=whole)(found)
    leaves = jax.tree_util.tree_leaves_with_path(found)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def laid_out(mesh: jax.sharding.Mesh, leaf: Any) -> jax.Array:
    return spread(mesh, leaf, jax.P("fsdp" if np.ndim(leaf) else None))


def outside_jit(mesh: jax.sharding.Mesh) -> None:
    """Check that no value is read that this process does not have."""
    divided, everywhere = jax.P(AXES), jax.P()
    key = spread(mesh, jax.random.key_data(jax.random.key(0)), everywhere)
    x, labels, partner, lam = (
        spread(mesh, v, divided) for v in (X, LABELS, PARTNER, LAM)
    )
    assert not lam.is_fully_addressable
    hot = mx.losses.one_hot(labels, CLASSES)
    check("one_hot", hot, HOT)
    pairing, ratio = mx.pairings.given(partner), mx.ratios.constant(lam)
    mixer = mx.choose([mx.mixup], [1.0])
    (mixed, soft), mix = mx.mixup(key, (x, hot), pairing=pairing, ratio=ratio)
    check("inputs", mixed, blended(X))
    check("targets", soft, blended(HOT))
    check("partners", mix.partners(labels), LABELS[PARTNER])
    check("Mix", mx.Mix.from_pairs(lam, partner).inputs(x), blended(X))
    (mixed, _), mix = mixer(key, (x, hot))
    check("choose", mix.lam >= 0, np.ones(SIZE, bool))
    attacked = mx.attacks.fgsm(lambda x: jnp.sum(x, axis=(1, 2, 3)), x, epsilon=lam)
    check("fgsm", attacked, X + LAM[:, None, None, None])
    alone = spread(mesh, np.asarray(0.5, np.float32), everywhere)
    low = mx.ratios.uniform(low=alone, high=alone)
    check("uniform", low(key, mx.Partners(partner, mix.move)), np.full(SIZE, 0.5))
    # Fully replicated values are still validated.
    try:
        mx.ratios.constant(spread(mesh, np.asarray(1.5, np.float32), everywhere))
    except ValueError as error:
        SAID.append(str(error))
    hits = mx.metrics.accuracy(hot, labels)
    check("accuracy", hits, np.ones(SIZE))


def check(name: str, found: jax.Array, expected: np.ndarray) -> None:
    assert not isinstance(found, np.ndarray)
    for shard in found.addressable_shards:
        np.testing.assert_allclose(
            shard.data, expected[shard.index], rtol=1e-6, err_msg=name
        )
    SAID.append(name)


def blended(x: np.ndarray) -> np.ndarray:
    w = LAM.reshape(SIZE, *(1,) * (x.ndim - 1))
    return w * x + (1 - w) * x[PARTNER]


def mesh_of(devices: Any) -> jax.sharding.Mesh:
    auto = jax.sharding.AxisType.Auto
    return jax.sharding.Mesh(np.reshape(devices, (2, 2)), AXES, axis_types=(auto, auto))


if __name__ == "__main__":
    port, processes, process, file = sys.argv[1:]
    jax.config.update("jax_num_cpu_devices", DEVICES // int(processes))
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"127.0.0.1:{port}", int(processes), int(process))
    mesh = mesh_of(jax.devices())
    outside_jit(mesh)
    # Not printed: Gloo's threads write to the same stream and interrupt lines.
    Path(file).with_suffix(".json").write_text(json.dumps(SAID))
    np.savez(file, **on_mesh(mesh, names(int(processes))))
