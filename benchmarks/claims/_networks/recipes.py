"""Optimizers, epochs and batches of a claim, as data that trains and prints."""

import dataclasses
from typing import Any, Protocol

import optax


class Optimizer(Protocol):
    """An optimizer; ``str`` describes it."""

    def tx(self, steps: int) -> optax.GradientTransformation:
        """Return the optimizer for a training of so many steps."""
        ...


@dataclasses.dataclass(frozen=True)
class Adam:
    """Adam with a constant rate."""

    rate: float

    def __str__(self) -> str:
        return f"Adam {self.rate:g}"

    def tx(self, steps: int) -> optax.GradientTransformation:
        return optax.adam(self.rate)


@dataclasses.dataclass(frozen=True)
class CosineAdam:
    """Adam with a rate that falls to 0 along a cosine."""

    rate: float

    def __str__(self) -> str:
        return f"Adam {self.rate:g}, along a cosine to 0"

    def tx(self, steps: int) -> optax.GradientTransformation:
        return optax.adam(optax.cosine_decay_schedule(self.rate, steps))


@dataclasses.dataclass(frozen=True)
class DroppingAdam:
    """Adam with a rate that is divided by 10 at the end of each of ``parts``."""

    rate: float
    parts: int

    def __str__(self) -> str:
        return f"Adam {self.rate:g}, divided by 10 after each of {self.parts} parts"

    def tx(self, steps: int) -> optax.GradientTransformation:
        return optax.adam(
            optax.exponential_decay(self.rate, steps // self.parts, 0.1, staircase=True)
        )


@dataclasses.dataclass(frozen=True)
class StepSgd:
    """SGD with momentum 0.9; the rate drops after 1/2 and 3/4 of the steps.

    Attributes:
      rate: the initial rate.
      decay: weight decay; may be traced.
    """

    rate: float
    decay: Any = 0.0

    def __str__(self) -> str:
        return (
            f"SGD {self.rate:g}, divided by 10 after 1/2 and 3/4 of the epochs, "
            f"momentum 0.9, weight decay {self.decay:g}"
        )

    def tx(self, steps: int) -> optax.GradientTransformation:
        rate = optax.piecewise_constant_schedule(
            self.rate, {steps // 2: 0.1, 3 * steps // 4: 0.1}
        )
        return optax.chain(
            optax.add_decayed_weights(self.decay), optax.sgd(rate, momentum=0.9)
        )


@dataclasses.dataclass(frozen=True)
class OneCycle:
    """fastai's optimizer: AdamW with the rate going up, then down."""

    rate: float
    decay: Any = 0.0

    def __str__(self) -> str:
        return f"AdamW, one cycle up to {self.rate:g}, weight decay {self.decay:g}"

    def tx(self, steps: int) -> optax.GradientTransformation:
        rate = optax.cosine_onecycle_schedule(
            steps, self.rate, pct_start=0.5, div_factor=10, final_div_factor=1e4
        )
        return optax.adamw(rate, b1=0.9, b2=0.99, weight_decay=self.decay)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How networks are trained.

    Attributes:
      optimizer: the optimizer.
      epochs: number of epochs.
      batch: examples per step.
    """

    optimizer: Optimizer
    epochs: int
    batch: int

    def __str__(self) -> str:
        return f"{self.optimizer}; {self.epochs} epochs, batches of {self.batch}"

    def steps(self, examples: int) -> int:
        """Return the number of steps over so many training examples."""
        return self.epochs * -(-examples // self.batch)

    def tx(self, examples: int) -> optax.GradientTransformation:
        """Return the optimizer for so many training examples."""
        return self.optimizer.tx(self.steps(examples))

    def longer(self) -> "Recipe":
        """Return the recipe with twice as many epochs."""
        return dataclasses.replace(self, epochs=2 * self.epochs)
