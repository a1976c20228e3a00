"""Mixers whose inputs are cast within the pass that mixes them."""

from collections.abc import Callable
from typing import Any

import jax
from jax import Array

from mixup_jax._combinators.once import once_per_batch
from mixup_jax._core import arrays, checks
from mixup_jax._core.cast import shape_of
from mixup_jax._core.follow import is_follower
from mixup_jax._core.halves import Combinator, Halves, Mixer, halves, run
from mixup_jax._core.made import made
from mixup_jax._core.mix import Mix
from mixup_jax._core.types import Batch


@made
def cast_inputs(mixer: Mixer, cast: Callable[[Array], Array]) -> Mixer:
    """Return a mixer that mixes what ``cast`` makes of the inputs.

    ::

        mixer(key, (jax.tree.map(cast, inputs), targets))

    in one pass over the inputs as they come: bytes are read and travel, and are floats
    once they are there. Inputs come back cast whether anything is mixed or not. What is
    cast to float32 is not rounded before it is blended, nor written so where the model
    makes bfloat16 of it: the compiler puts that into the same pass.

    It goes around ``choose`` and ``with_probability``, and within ``on_keys``. A mixer
    that is one function (``gaussian``, a jitted one) is given inputs that are cast.

    Args:
      mixer: a mixer over pairs.
      cast: makes of a leaf one of the same shape. Every leaf of the inputs is handed
        to it, but for those that follow by a rule of their own (``follow.masks``); to
        leave one alone it returns it. What it makes of an example depends on that
        example alone; elementwise, with constants for each channel, it is fused.

    Raises:
      TypeError: If ``mixer`` or ``cast`` is not callable. When called: if what would be
        blended is neither floating nor complex, as ``cast`` returned it.
      ValueError: When called: if the batch is no pair, or ``cast`` returns another
        shape.

    Example:
      >>> import jax, mixup_jax as mx
      >>> mixer = mx.cast_inputs(mx.mixup, lambda x: x / 255)
      >>> images = jax.numpy.zeros((4, 8, 8, 3), "uint8")
      >>> (images, _), _ = mixer(jax.random.key(0), (images, None))
      >>> images.dtype
      dtype('float32')
    """
    checks.function(mixer, "cast_inputs: mixer", "mixup_jax.mixup")
    checks.function(cast, "cast_inputs: cast", "lambda x: x / 255")

    def cast_first(batch: Batch) -> Batch:
        inputs, targets = checks.pair(batch)

        def of_part(path: Any, part: Any) -> Any:
            if is_follower(part):
                return part
            where = "inputs" + jax.tree_util.keystr(path)
            arrays.array_of_numbers(part, where)
            x = arrays.exact(part, where)
            shape_of(cast, x, where)
            return cast(x)

        inputs = jax.tree.map_with_path(of_part, inputs, is_leaf=is_follower)
        return inputs, targets

    def of_pair(batch: Batch) -> Halves | None:
        inner = halves(mixer, cast_first(batch))
        if inner is None:
            return None

        def draw(key: Array, batch: Batch) -> Mix:
            # A draw that looks at the inputs sees those that are mixed.
            return inner.draw(key, cast_first(batch))

        def apply(mix: Mix, batch: Batch) -> Any:
            if inner.apply is Mix.batch:
                return mix.batch(batch, cast=cast)
            return inner.apply(mix, cast_first(batch))

        return Halves(draw, apply)

    def whole(key: Array, batch: Batch) -> tuple[Any, Mix]:
        return run(mixer, key, cast_first(batch))

    def once() -> Mixer:
        return cast_inputs(once_per_batch(mixer), cast)

    return Combinator(of_pair, whole, once)
