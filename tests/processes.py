"""Arrays that span two processes, outside jit: no process has all their values.

Run by tests/test_processes.py, once for each process:

    python -m tests.processes PORT PROCESS FILE
"""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import mixup_jax as mx

SIZE, CLASSES = 8, 3
X = np.linspace(0, 1, SIZE * 2, dtype=np.float32).reshape(SIZE, 2)
LABELS = np.arange(SIZE, dtype=np.int32) % CLASSES
PARTNER = np.roll(np.arange(SIZE, dtype=np.int32), 3)
LAM = np.linspace(0, 1, SIZE, dtype=np.float32)
HOT = np.eye(CLASSES, dtype=np.float32)[LABELS]
SAID: list[str] = []


def spread(values: np.ndarray, *axes: str) -> jax.Array:
    """Return the whole array, divided along ``axes`` or copied to all devices."""
    auto = jax.sharding.AxisType.Auto
    mesh = jax.make_mesh((jax.device_count(),), ("data",), (auto,))
    sharding = jax.NamedSharding(mesh, jax.P(*axes))
    return jax.make_array_from_callback(values.shape, sharding, lambda i: values[i])


def check(name: str, found: jax.Array, expected: np.ndarray) -> None:
    assert not isinstance(found, np.ndarray)
    for shard in found.addressable_shards:
        np.testing.assert_allclose(
            shard.data, expected[shard.index], rtol=1e-6, err_msg=name
        )
    SAID.append(name)


def blended(x: np.ndarray) -> np.ndarray:
    w = LAM[:, None]
    return w * x + (1 - w) * x[PARTNER]


def main() -> None:
    key = spread(np.asarray(jax.random.key_data(jax.random.key(0))))
    x, labels, partner, lam = (spread(v, "data") for v in (X, LABELS, PARTNER, LAM))
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
    attacked = mx.attacks.fgsm(lambda x: jnp.sum(x, axis=1), x, epsilon=lam)
    check("fgsm", attacked, X + LAM[:, None])
    alone = spread(np.asarray(0.5, np.float32))
    low = mx.ratios.uniform(low=alone, high=alone)
    check("uniform", low(key, mx.Partners(partner, mix.move)), np.full(SIZE, 0.5))
    # What each process has whole is looked at, as ever.
    try:
        mx.ratios.constant(spread(np.asarray(1.5, np.float32)))
    except ValueError as error:
        SAID.append(str(error))
    hits = mx.metrics.accuracy(hot, labels)
    check("accuracy", hits, np.ones(SIZE))


if __name__ == "__main__":
    port, process, file = sys.argv[1:]
    jax.config.update("jax_num_cpu_devices", 2)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"127.0.0.1:{port}", 2, int(process))
    main()
    # Not printed: Gloo's threads write to the same stream, and cut into lines.
    Path(file).write_text("\n".join(SAID), encoding="utf-8")
