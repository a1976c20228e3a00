"""A train step for Optax, and drivers that run it under pmap or jit over a mesh.

::

    step = train_step(loss, mixer)          # pure: (state, key, batch) -> ...
    run = jax.jit(step, donate_argnums=0)   # on one device
    run = pmapped(step)                     # on every device, like ``jax.pmap``
    run = sharded(step, mesh)               # on a mesh with Auto or Explicit axes

The state is any object with ``params``, ``step`` and ``apply_gradients(grads=...)``:
Linen's ``flax.training.train_state.TrainState``, or the ``TrainState`` defined here,
which is independent of the model library and therefore works for NNX. Pass the same key
for the whole run. It is folded with ``state.step``, so a resumed run makes the same
draws as an uninterrupted one.
"""

try:
    import optax as _optax  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "optax":
        raise
    message = "mixup_jax.training needs Optax: pip install optax"
    raise ModuleNotFoundError(message, name="optax") from error

from mixup_jax.training._drivers import pmapped as pmapped
from mixup_jax.training._drivers import sharded as sharded
from mixup_jax.training._loss import Loss as Loss
from mixup_jax.training._loss import Metrics as Metrics
from mixup_jax.training._loss import Stateful as Stateful
from mixup_jax.training._loss import StatefulLoss as StatefulLoss
from mixup_jax.training._loss import stateful as stateful
from mixup_jax.training._run import Run as Run
from mixup_jax.training._state import State as State
from mixup_jax.training._state import TrainState as TrainState
from mixup_jax.training._step import Step as Step
from mixup_jax.training._step import train_step as train_step
