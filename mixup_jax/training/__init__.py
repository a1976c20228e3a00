"""The train step with Optax, and its drivers: pmap, and jit over a mesh.

    step = train_step(loss, mixer)              # pure: (state, key, batch) -> ...
    run = jax.jit(step, donate_argnums=0)       # one device
    run = pmapped(step)                         # every device, as jax.pmap does it
    run = sharded(step, mesh)                   # a mesh, Auto or Explicit axes

The state is any object with `params`, `step` and `apply_gradients(grads=...)`: Linen's
`flax.training.train_state.TrainState`, or the `TrainState` below, which knows nothing
of models and so serves NNX. The key is the same for the whole run: it is folded with
`state.step`, so a resumed run draws what the uninterrupted one would have drawn.
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
