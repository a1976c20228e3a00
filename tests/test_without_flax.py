"""Everything except ``training`` and ``hidden`` works without Flax and Optax."""

import subprocess
import sys

import pytest

# Goes before all other finders, as if neither were installed.
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


TRAINING = """
import pickle

import jax
import jax.numpy as jnp
import optax

import mixup_jax as mx

state = mx.training.TrainState.create({"w": jnp.ones(3)}, optax.adam(0.1))


def loss(params, batch, mix):
    x, y = batch
    return jnp.mean((x @ params["w"] - y) ** 2), {}


class Longer(mx.training.TrainState):
    more: int = 3


step = jax.jit(mx.training.train_step(loss, mx.mixup))
batch = (jnp.ones((4, 3)), jnp.zeros(4))
after, metrics = step(state, jax.random.key(0), batch)
assert int(after.step) == 1 and float(metrics["loss"]) == 9, metrics
after, _ = mx.training.pmapped(mx.training.train_step(loss, mx.mixup))(
    after, jax.random.key(0), batch
)
assert int(after.replace(step=7).step) == 7
longer = Longer(**vars(state))
assert len(jax.tree.leaves(longer)) == len(jax.tree.leaves(state)) + 1
assert jax.tree.leaves(pickle.loads(pickle.dumps(after.params)))
paths = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(after)]
assert paths[:2] == [".step", ".params['w']"], paths
assert not [name for name in sys.modules if name.partition(".")[0] == "flax"]
"""


def test_training_needs_optax_alone():
    found = python(TRAINING, "flax")
    assert found.returncode == 0, found.stderr


ASKED = """
for asked in ("import mixup_jax as mx; mx.{module}", "import mixup_jax.{module}"):
    try:
        exec(asked)
    except ModuleNotFoundError as error:
        print(error)
"""


@pytest.mark.parametrize(
    ("module", "package"), [("training", "Optax"), ("hidden", "Flax")]
)
def test_what_is_missing_is_named_with_how_to_install_it(module, package):
    found = python(ASKED.format(module=module), package.lower())
    said = f"mixup_jax.{module} needs {package}: pip install {package.lower()}"
    assert found.stdout.splitlines() == [said, said], found.stderr


LISTED = """
import importlib.util
import inspect
import mixup_jax as mx

find = importlib.util.find_spec
importlib.util.find_spec = lambda name: None if name == "flax" else find(name)
assert "hidden" not in dir(mx) and "training" in dir(mx)
assert "mixup" in dict(inspect.getmembers(mx))
"""


def test_what_cannot_be_loaded_is_not_listed():
    found = python(LISTED, "flax")
    assert found.returncode == 0, found.stderr
