"""What needs neither Flax nor Optax: all but `training` and `hidden`."""

import subprocess
import sys

# Found before any other finder is asked, as if neither had been installed.
BLOCKED = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""

CORE = """
from functools import partial

import jax
import jax.numpy as jnp

import mixup_jax as mx

DEVICES, CLASSES = 2, 3
jax.config.update("jax_num_cpu_devices", DEVICES)
x, labels = jnp.ones((DEVICES, 4, 5)), jnp.zeros((DEVICES, 4), jnp.int32)
mixer = mx.whole_batch(partial(mx.mixup, alpha=0.2), "data")
mapped = jax.pmap(mixer, "data", in_axes=(None, 0))
(inputs, targets), mix = mapped(jax.random.key(0), (x, jax.nn.one_hot(labels, CLASSES)))
assert inputs.shape == x.shape and targets.shape == (DEVICES, 4, CLASSES)


def entropy(logits, labels):
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1)[:, 0]


(x, _), mix = mx.mixup(jax.random.key(0), (x[0], None), alpha=0.2)
logits = jnp.zeros((4, CLASSES))
assert mx.losses.termwise(entropy)(logits, labels[0], mix).shape == (4,)
mixed = mix.targets(mx.losses.one_hot(labels[0], CLASSES))
assert mx.metrics.accuracy(logits, mixed).shape == (4,)
assert mx.losses.real_and_fake and mx.attacks.fgsm
assert not {"flax", "optax"} & set(sys.modules)
"""


def python(program: str, *absent: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BLOCKED.format(absent=set(absent)) + program],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_core_runs_without_either():
    found = python(CORE, "flax", "optax")
    assert found.returncode == 0, found.stderr
