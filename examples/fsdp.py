"""Train with a state that is sharded over devices, as in FSDP.

    python -m examples.fsdp --devices 8

Parameters and optimizer state are sharded over the mesh axis "fsdp", and the batch over
"data" and "fsdp". Trains on one device and with 1, 2, 4, ... shards, on virtual CPU
devices or on the accelerators available. Prints the bytes of state per device, which
are inversely proportional to the number of shards, and the largest difference of the
losses from those of one device. Exits with code 1 if the losses differ by more than
rounding, or if the state is returned with a different sharding.
"""

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import AxisType

import command_line
import mixup_jax as mx
from examples import _on_devices
from examples.datasets import Images

AXES = ("data", "fsdp")
HIDDEN = 128
TOLERANCE = 1e-4


class MLP(nnx.Module):
    def __init__(self, inputs, hidden, classes, *, rngs):
        self.first = nnx.Linear(inputs, hidden, rngs=rngs)
        self.second = nnx.Linear(hidden, hidden, rngs=rngs)
        self.last = nnx.Linear(hidden, classes, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.first(x.reshape(x.shape[0], -1)))
        return self.last(nnx.relu(self.second(x)))


# --- the rule
def over_shards(mesh: jax.sharding.Mesh, tree: Any) -> Any:
    """Return shardings for the arrays of a tree: the largest axis over "fsdp".

    Arrays without an axis that the number of shards divides are replicated.
    """
    shards = mesh.shape["fsdp"]

    def sharding(x: Any) -> jax.NamedSharding:
        fits = [axis for axis, size in enumerate(x.shape) if size % shards == 0]
        largest = max(fits, key=lambda axis: x.shape[axis], default=None)
        spec = ["fsdp" if axis == largest else None for axis in range(x.ndim)]
        return jax.NamedSharding(mesh, jax.P(*spec))

    return jax.tree.map(sharding, tree)


# --- end of the rule


def batches(data: Images, size: int, epochs: int, seed: int) -> Iterator[Any]:
    shuffle = np.random.default_rng(seed)
    images = data.train_images.astype(np.float32) / 255
    for _ in range(epochs):
        order = shuffle.permutation(len(images))
        for start in range(0, len(order) - size + 1, size):
            rows = order[start : start + size]
            yield {"image": images[rows], "label": data.train_labels[rows]}


def bytes_on_a_device(tree: Any) -> int:
    """Return the bytes of a tree on the first device of this process."""
    return sum(x.addressable_shards[0].data.nbytes for x in jax.tree.leaves(tree))


def main(argv: Sequence[str] | None = None) -> None:
    parser = _on_devices.arguments("Train with a state that is sharded over devices.")
    parser.set_defaults(epochs=1, devices=8)
    args, data = _on_devices.parsed(parser, argv)
    # By default, GPUs round products to fewer bits, depending on the shapes of shards.
    jax.config.update("jax_default_matmul_precision", "highest")
    key_init, key = jax.random.split(command_line.key(args.seed))
    inputs, classes = data.train_images[0].size, len(data.classes)
    # Adam divides a gradient by its magnitude. With the usual eps it would take full
    # steps along gradients that consist of rounding errors.
    tx = optax.adam(1e-3, eps=1e-4)

    def model(key):
        return MLP(inputs, HIDDEN, classes, rngs=nnx.Rngs(key))

    def create(key):
        _, params = nnx.split(model(key), nnx.Param)
        return mx.training.TrainState.create(params, tx)

    graph, _ = nnx.split(nnx.eval_shape(partial(model, key_init)), nnx.Param)
    mixer = mx.on_keys(partial(mx.mixup, alpha=0.2), inputs="image")
    entropy = mx.losses.termwise(optax.losses.softmax_cross_entropy_with_integer_labels)

    def loss(params, batch, mix):
        logits = nnx.merge(graph, params)(batch["image"])
        return jnp.mean(entropy(logits, batch["label"], mix)), {}

    step = mx.training.train_step(loss, mixer)

    def trained(run, state):
        losses = []
        for batch in batches(data, args.batch_size, args.epochs, args.seed):
            state, metrics = run(state, key, batch)
            losses.append(metrics["loss"])
        return state, np.array(losses)

    alone = jax.jit(step, donate_argnums=0)
    state, expected = trained(alone, jax.jit(create)(key_init))
    count, whole = jax.device_count(), bytes_on_a_device(state)
    print(f"{args.data} on {count} devices, {len(expected)} steps")
    print("shards  bytes of state per device  of the total  sharding preserved  losses")
    print(f"{'none':>6}  {whole:25,}  {1:12.3f}  {'':18}  those of one device")
    worst, stayed = 0.0, True
    for shards in (n for n in (2**k for k in range(9)) if count % n == 0):
        types = (AxisType.Auto,) * 2
        mesh = jax.make_mesh((count // shards, shards), AXES, types)
        run = mx.training.sharded(step, mesh, axis_name=AXES)
        layout = over_shards(mesh, jax.eval_shape(create, key_init))
        # Created with its sharding, so that no device ever holds the whole state.
        state, losses = trained(run, jax.jit(create, out_shardings=layout)(key_init))
        held = bytes_on_a_device(state)
        same = all(
            x.sharding.is_equivalent_to(sharding, x.ndim)
            for x, sharding in zip(jax.tree.leaves(state), jax.tree.leaves(layout))
        )
        far = float(np.max(np.abs(losses - expected)))
        print(
            f"{shards:6}  {held:25,}  {held / whole:12.3f}  "
            f"{'yes' if same else 'no':18}  within {far:.1e}"
        )
        worst, stayed = max(worst, far), stayed and same
    if worst > TOLERANCE or not stayed:
        sys.exit("The losses or the shardings differ.")


if __name__ == "__main__":
    command_line.start(main)
