"""Casting of inputs inside the pass that mixes them, for any mixer."""

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
    """Return a mixer that casts and mixes the inputs in one pass.

    The result is that of

    ::

        mixer(key, (jax.tree.map(cast, inputs), targets))

    but uint8 inputs are read and travel as uint8, and are cast where they are mixed.
    Inputs are cast whether any example is mixed or not. A cast to float32 is not
    rounded before it is blended, and if the model converts the result to bfloat16, the
    compiler fuses that conversion too.

    Apply it outside of ``choose`` and ``with_probability``, and inside of ``on_keys``.
    A mixer that is a single function (``gaussian``, a jitted one) receives inputs that
    are already cast.

    Args:
      mixer: a mixer over pairs.
      cast: converts a leaf to an array of the same shape. It is called on every leaf of
        the inputs, except for those that follow by their own rule (``follow.masks``);
        return a leaf as is to leave it unchanged. It must treat each example
        independently; elementwise functions, with constants per channel, are fused.

    Returns:
      The mixer.

    Raises:
      TypeError: If ``mixer`` or ``cast`` is not callable. If, when called, an array
        that would be blended is neither floating-point nor complex after ``cast``.
      ValueError: If, when called, the batch is not a pair, or ``cast`` changes the
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
            # A draw that reads the inputs sees the values that are mixed.
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
