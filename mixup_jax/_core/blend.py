"""The mixing equation: the only arithmetic on examples.

::

    front_0[i] = x[i],  front_{k+1}[i] = T_k(x[partner_k(i)])
    mixed_k[i] = w_k[i] * front_k[i] + (1 - w_k[i]) * mixed_{k+1}[i]
    x~[i]      = g(w_0[i]) * mixed_0[i]

for k from 0 to the number of sources; the last source shows wherever all sources in
front of it leave room. ``w_k`` is float32 (blend) or bool (paste: True keeps the
content in front), one value per example or per position. Nothing here is random.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from mixup_jax._core.cast import Cast, of_rows
from mixup_jax._core.mesh import laid_as, laid_like, per_example
from mixup_jax._core.move import Move
from mixup_jax._core.moves import brought


class Link(NamedTuple):
    """One source of a chain, for one leaf.

    Attributes:
      w: bool or float32, broadcasts with the leaf; the weight of the content in front.
      move: how partners travel.
      partner: int32 ``[B]``.
      view: shows the partners' content through a window; ``None`` shows it unchanged.
    """

    w: Array
    move: Move
    partner: Array
    view: Callable[[Array], Array] | None = None


def chain(
    x: Array,
    links: Sequence[Link],
    gain: Array | None = None,
    cast: Cast | None = None,
) -> Array:
    """Return ``x`` in front of the sources in ``links``, in the dtype of ``x``.

    bfloat16 and float16 are blended in float32 inside the fused pass and rounded once.

    Args:
      x: ``[B, ...]``; any dtype if all weights are bool and there is no gain, otherwise
        floating-point or complex.
      links: the sources, at least one, from front to back.
      gain: float32, broadcasts with ``x``; factor of the mixture.
      cast: converts ``x`` to the values to be mixed, of the same shape. The result is
        that of ``chain(cast(x), links, gain)``, but ``x`` is what travels.
    """
    if cast is not None and jnp.issubdtype(x.dtype, jax.dtypes.extended):
        x, cast = cast(x), None  # a cast of keys is not a cast of their words
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        words = [_of_words(link) for link in links]
        data = chain(jax.random.key_data(x), words)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(x))
    weights = [laid_like(link.w, x) for link in links]
    moves, partners = [link.move for link in links], [link.partner for link in links]
    function, w = _back_to_front, (weights, gain)
    if len(links) == 1 and gain is None:
        function, w = blend, weights[0]
    seen = _as_it_is if cast is None else of_rows(cast, x)

    def of_seen(w: Any, *rows: Array) -> Array:
        return function(w, *map(seen, rows))

    def all_at_once(x: Array, w: Any) -> Array:
        return brought(of_seen, x, moves, partners, w)

    def one_by_one(x: Array, w: Any) -> Array:
        # A window is not elementwise, so it is applied before the blend.
        taken = [seen(move.take(x, each)) for move, each in zip(moves, partners)]
        behind = (link.view(y) if link.view else y for link, y in zip(links, taken))
        return function(w, seen(x), *behind)

    def widened_first(x: Array, w: Any) -> Array:
        return all_at_once(x.astype(jnp.float32), w)

    through = any(link.view for link in links)
    run = one_by_one if through else all_at_once
    pastes = gain is None and all(w.dtype == jnp.bool_ for w in weights)
    dtype = x.dtype if cast is None else jax.eval_shape(cast, x).dtype
    if pastes or dtype.itemsize > 2:
        return run(x, w)
    moves_alone = through or not all(move.structural for move in moves)
    if cast is not None or moves_alone:
        return run(x, w).astype(dtype)  # a move that does not fuse should move 16 bits
    # On CPUs XLA converts at every use; on TPUs it would move the converted rows.
    blended = jax.lax.platform_dependent(x, w, tpu=run, default=widened_first)
    return blended.astype(x.dtype)


def _as_it_is(rows: Array) -> Array:
    return rows


def _back_to_front(
    w: tuple[Sequence[Array], Array | None], x: Array, *rows: Array
) -> Array:
    """Return the mixture of ``x`` and the rows behind it, the last one first."""
    (weights, gain), fronts = w, (x, *rows)
    behind = fronts[-1]
    for k in reversed(range(len(weights))):
        front = fronts[k].astype(behind.dtype)  # ``behind`` may have been widened
        behind = blend(weights[k], front, behind)
    return behind if gain is None else _scaled(gain, widened(behind))


def _scaled(gain: Array, x: Array) -> Array:
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        return jax.lax.complex(_scaled(gain, x.real), _scaled(gain, x.imag))
    return jnp.where(gain == 1, x, gain.astype(x.dtype) * x)


def _of_words(link: Link) -> Link:
    """Return the link for the words of keys, which have one more axis than the keys."""
    view = link.view and jax.vmap(link.view, in_axes=-1, out_axes=-1)
    return link._replace(w=link.w[..., None], view=view)


def rows_from(own: Array, x: Array, y: Array) -> Array:
    """Return the rows of ``x`` where ``own`` is True, otherwise those of ``y``.

    Args:
      own: bool, ``[B]`` or scalar.
      x: ``[B, ...]``, any dtype.
      y: of the same shape and dtype; the result is sharded like it.
    """
    return jnp.where(per_example(own, y), laid_as(x, y), y)


def blend(w: Array, x: Array, partner_x: Array) -> Array:
    """Return ``w * x + (1 - w) * partner_x``, in float32 if the dtype is narrower.

    Where the weight of one side is exactly 0, the other side is returned bit for bit,
    so that a NaN or an infinity behind the zero does not spread. The gradient with
    respect to ``w`` is 0 there.

    Example:
      >>> import jax.numpy as jnp
      >>> from mixup_jax._core.blend import blend
      >>> x = jnp.array([[0.0], [8.0]])
      >>> blend(jnp.array([[0.75], [1.0]]), x, x[::-1])
      Array([[2.],
             [8.]], dtype=float32)
    """
    if w.dtype == jnp.bool_:
        return jnp.where(w, x, partner_x)
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        # A complex weight would multiply 0 by an infinite imaginary part.
        return jax.lax.complex(
            blend(w, x.real, partner_x.real), blend(w, x.imag, partner_x.imag)
        )
    x, partner_x = widened(x), widened(partner_x)
    w = w.astype(x.dtype)
    all_own, all_theirs = w == 1, w == 0
    # Otherwise the derivative by w would be NaN where the hidden side is not finite.
    w = jnp.where(all_own | all_theirs, jax.lax.stop_gradient(w), w)
    inner = w * x + (1 - w) * partner_x
    # Each mask is used once: on GPUs XLA may materialize one that is used twice.
    return jnp.where(all_own, x, jnp.where(all_theirs, partner_x, inner))


def summable(x: ArrayLike) -> Array:
    """Return ``x`` in a dtype suited to sums and fractions: float32 or wider."""
    x = widened(x)
    return x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(jnp.float32)


def widened(x: ArrayLike) -> Array:
    """Return ``x`` in float32 if it is floating-point and narrower, otherwise as is.

    Example:
      >>> import jax.numpy as jnp
      >>> from mixup_jax._core.blend import widened
      >>> widened(jnp.ones(2, jnp.bfloat16)).dtype, widened(jnp.ones(2, jnp.int8)).dtype
      (dtype('float32'), dtype('int8'))
    """
    x = jnp.asarray(x)
    narrow = jnp.issubdtype(x.dtype, jnp.floating) and x.dtype.itemsize < 4
    return x.astype(jnp.float32) if narrow else x
