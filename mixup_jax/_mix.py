"""Draw, then apply: what was drawn for a batch, and the deterministic half."""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from mixup_jax import _blend, _checks
from mixup_jax._moves import Gather, Stay, alike, moved, per_example
from mixup_jax._types import (
    Batch,
    Move,
    Pairing,
    Partners,
    Ratio,
    Region,
    RegionDraw,
)
from mixup_jax.regions import Everywhere, Untouched, at_layer


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Mix:
    """What was drawn for a batch; applies the same mix to whatever else must follow.

    ::

        x~[i] = w[i] * x[i] + (1 - w[i]) * x[partner[i]]       inputs
        y~[i] = lam[i] * y[i] + (1 - lam[i]) * y[partner[i]]   targets

    A pytree with the examples on axis 0 of every leaf: it passes through jit, vmap,
    scan, pmap and shard_map. To apply a mix that came out of vmap or pmap, map again.

    The gradient by ``lam`` is 0 where a weight is exactly 0 or 1, since one side then
    comes back bit for bit; for inputs that a region pastes it is 0 everywhere.

    Attributes:
      lam: float32 ``[B]``, the weight of the example's own content, as the labels used
        it.
      partner: int32 ``[B]``, whom each example was mixed with.
      region: where the own content stays.
      move: how partners travel.
      mixes_targets: whether targets are mixed. If not, ``lam`` is 1 and targets stay as
        they are, whatever their dtype.

    Raises:
      TypeError: (when applied) partners that are no integers.
      ValueError: (when applied) ``lam`` and ``partner`` of other shapes, or concrete
        ones out of range.

    Example:
      >>> import jax.numpy as jnp, mixup_jax as mx
      >>> mix = mx.Mix(lam=jnp.array([0.75, 0.5]), partner=jnp.array([1, 0]))
      >>> mix.targets(jnp.array([[1.0, 0.0], [0.0, 1.0]]))
      Array([[0.75, 0.25],
             [0.5 , 0.5 ]], dtype=float32)
    """

    lam: Array
    partner: Array
    region: Region = dataclasses.field(default_factory=Everywhere)
    move: Move = dataclasses.field(default=Gather(), metadata={"static": True})
    mixes_targets: bool = dataclasses.field(default=True, metadata={"static": True})

    def inputs(self, tree: Any) -> Any:
        """Return ``tree`` mixed as the inputs were.

        Where the region pastes (CutMix), a leaf needs the spatial sizes of the batch,
        with or without a channel axis, and may have any dtype.

        Raises:
          TypeError: a leaf would be blended and is neither floating nor complex.
          ValueError: a leaf has another batch size or other spatial sizes.
        """

        def mixed(x: Array, _: str) -> Array:
            w = self.region.weights(lam, x)
            if w.dtype != jnp.bool_:
                _checks.blendable(
                    x,
                    "inputs",
                    "Cast or scale integer inputs to a float dtype first; one-hot maps "
                    "of class ids.",
                )
            return _blend.mixed(w, x, self.move, partner)

        lam, partner = self.drawn()
        if isinstance(self.region, Untouched):
            return self._of_batch("inputs", tree)
        return self._map("inputs", mixed, tree)

    def targets(self, tree: Any) -> Any:
        """Return ``tree`` mixed as the targets were, by ``lam``.

        Raises:
          TypeError: a leaf is neither floating nor complex.
          ValueError: a leaf has another batch size.
        """

        def mixed(y: Array, where: str) -> Array:
            _checks.blendable(y, where, _about_labels)
            return _blend.mixed(per_example(lam, y), y, self.move, partner)

        lam, partner = self.drawn()
        if not self.mixes_targets:
            return self._of_batch("targets", tree)
        return self._map("targets", mixed, tree)

    def partners(self, tree: Any) -> Any:
        """Return what each one's partner has, ``tree[partner]``, any dtype."""
        _, partner = self.drawn()
        return self._map("partners", lambda x, _: moved(self.move, x, partner), tree)

    def at(self, layer: int) -> "Mix":
        """Return the mix of a hidden layer: ``hidden = mix.at(2).inputs(hidden)``.

        Layer 0 is the inputs. Unless it was drawn for that layer (``manifold``), it
        leaves everything as it is.
        """
        return dataclasses.replace(self, region=at_layer(self.region, layer))

    def batch(self, batch: Batch) -> Batch:
        """Return ``(inputs, targets)``, each mixed."""
        inputs, targets = _checks.pair(batch)
        return self.inputs(inputs), self.targets(targets)

    def drawn(self) -> tuple[Array, Array]:
        """Return ``lam`` and ``partner`` in float32 and int32, whoever made the mix.

        Raises as applying the mix does.
        """
        lam, partner = jnp.asarray(self.lam), _checks.array(self.partner)
        if lam.ndim != 1 or lam.shape != partner.shape:
            raise ValueError(
                f"mix: expected lam [B] and partner [B]; got shapes {lam.shape} and "
                f"{partner.shape}. Apply a mix that came out of vmap or pmap under "
                "vmap or pmap."
            )
        if not jnp.issubdtype(partner.dtype, jnp.integer):
            raise TypeError(
                "mix: expected integer partners, indices of examples; got "
                f"{_checks.describe(partner)}. Cast them with partner.astype(int)."
            )
        # Other moves know the partners, and looking at values waits for the device.
        if self.move == Gather():
            advice = "It is the share of the own content."
            _checks.number(self.lam, "mix: lam", 0, 1, advice)
            advice = "Partners count from 0, in the batch that they were drawn for."
            _checks.number(partner, "mix: partner", 0, len(partner) - 1, advice)
        return lam.astype(jnp.float32), jnp.asarray(partner, jnp.int32)

    def _map(
        self, name: str, function: Callable[[Array, str], Array], tree: Any
    ) -> Any:
        def applied(path: Any, leaf: Any) -> Array:
            where = name + jax.tree_util.keystr(path)
            return function(_checks.exact(leaf, where), where)

        return jax.tree.map_with_path(applied, self._of_batch(name, tree))

    def _of_batch(self, name: str, tree: Any) -> Any:
        """Return ``tree``, or raise if it does not hold as many examples."""
        _checks.no_list(tree, name)
        advice = "Apply a mix to the batch that it was drawn for."
        _checks.sized(tree, len(self.lam), name, advice)
        return tree


def unmixed(key: Array, batch: Batch) -> Mix:
    """Return the mix of a batch that is not mixed: ``lam = 1``, and no partners.

    Raises as ``compose`` does.
    """
    _checks.key(key)
    _checks.pair(batch)
    size = _checks.examples(batch)
    lam, partner = jnp.ones(size, jnp.float32), jnp.arange(size, dtype=jnp.int32)
    return Mix(lam, partner, Untouched(), Stay(), mixes_targets=False)


class Mixer(Protocol):
    """Mixes a batch, and says what it did: any callable of this shape is one.

    The batch is a `Batch`, unless a wrapper such as `on_keys` takes it from a dict.
    """

    def __call__(self, key: Array, batch: Any) -> tuple[Any, Mix]: ...


def compose(
    key: Array, batch: Batch, *, ratio: Ratio, pairing: Pairing, region: RegionDraw
) -> Mix:
    """Draw a mix for ``batch`` from its parts: with whom, how much, and where.

    A method is this with parts of its own, under ``mixer``.

    Args:
      key: PRNG key.
      batch: pair ``(inputs, targets)`` of pytrees with the examples on axis 0.
      ratio: draws ``lam``, float32 ``[B]``.
      pairing: draws the partners.
      region: turns ``lam`` into a weight field.

    Returns:
      The mix. Who is its own partner has ``lam = 1``.

    Raises:
      TypeError: ``key`` is no key; ``ratio``, ``pairing`` or ``region`` is no function;
        the pairing returns anything but ``Partners`` with an integer index.
      ValueError: ``batch`` is no pair, is empty, or its leaves disagree on its size;
        the pairing or the ratio draws for another number of examples.

    Example:
      >>> from functools import partial
      >>> import jax, mixup_jax as mx
      >>> of_boxes = partial(
      ...     mx.compose,
      ...     ratio=mx.ratios.beta(1.0),
      ...     pairing=mx.pairings.roll,
      ...     region=mx.regions.box,
      ... )
      >>> images, labels = jax.numpy.ones((4, 8, 8, 3)), jax.numpy.arange(4)
      >>> mix = of_boxes(jax.random.key(0), (images, labels))
      >>> mix.partners(labels)
      Array([3, 0, 1, 2], dtype=int32)
    """
    _checks.key(key)
    inputs, _ = _checks.pair(batch)
    size = _checks.examples(batch)
    _checks.function(ratio, "ratio", "mixup_jax.ratios.constant(0.5)")
    _checks.function(pairing, "pairing", "mixup_jax.pairings.roll")
    _checks.function(region, "region", "mixup_jax.regions.everywhere")
    key_pairing, key_ratio, key_region = jax.random.split(key, 3)
    partners = _for_examples(size, pairing(key_pairing, batch))
    lam = ratio(key_ratio, partners)
    shape = getattr(lam, "shape", None)
    if shape != (size,):
        raise ValueError(
            f"ratio: expected lam with shape ({size},), one for each example; got "
            f"{_checks.describe(lam) if shape is None else shape}. Return "
            "partners.index.shape values, as mixup_jax.ratios do."
        )
    where, lam = region(key_region, lam.astype(jnp.float32), inputs)
    alone = partners.index == jnp.arange(size, dtype=jnp.int32)
    alone, lam = alike(alone, lam)
    return Mix(jnp.where(alone, 1.0, lam), partners.index, where, partners.move)


def along(spatial: tuple[int, ...] | None, region: Callable[..., Any]) -> RegionDraw:
    """Return ``region`` drawn along the ``spatial`` axes.

    Raises:
      TypeError: ``region`` is no function, or none of spatial axes.
    """
    _checks.function(region, "region", "mixup_jax.regions.box")
    if spatial is None and "spatial" in getattr(region, "keywords", {}):
        return region
    try:
        inspect.signature(region).bind(None, None, None, spatial=spatial)
    except ValueError:  # what is not written in Python need not have a signature
        pass
    except TypeError as error:
        raise TypeError(
            "region: expected a function (key, lam, inputs, *, spatial); got "
            f"{_checks.describe(region)}: {error}. Pass one such as "
            "mixup_jax.regions.box; one weight for all positions is mixup_jax.mixup."
        ) from None
    return functools.partial(region, spatial=spatial)


def _for_examples(size: int, drawn: Any) -> Partners:
    """Return what a pairing drew, its index in int32."""
    if not isinstance(drawn, Partners):
        raise TypeError(
            f"pairing: expected Partners; got {_checks.describe(drawn)}. Of indices "
            "make them with mixup_jax.pairings.given(index)(key, batch)."
        )
    advice = "Draw one partner for each example of the batch that is given."
    _checks.shaped(drawn.index, "pairing: index", [(size,)], advice)
    index = _checks.array(drawn.index)
    if not jnp.issubdtype(index.dtype, jnp.integer):
        raise TypeError(
            "pairing: expected integer partners, indices of examples; got "
            f"{_checks.describe(drawn.index)}. Cast them with index.astype(int)."
        )
    if index.dtype != jnp.int32:  # else it may be wrapped into the range
        advice = "Partners count from 0, in the batch that is given."
        _checks.number(index, "pairing: index", 0, size - 1, advice)
    return Partners(jnp.asarray(index, jnp.int32), drawn.move)


def _about_labels(leaf: Any) -> str:
    """Say what to do with targets that cannot be blended."""
    cast = "Cast labels of 0 and 1, one for each class, with labels.astype(float)"
    if leaf.dtype == bool:
        return f"{cast}."
    one_hot = (
        "One-hot integer labels with mixup_jax.losses.one_hot(labels, classes); or "
        "leave them out of the batch and use "
        "mixup_jax.losses.two_term(loss)(logits, labels, mix)"
    )
    return f"{one_hot}." if leaf.ndim == 1 else f"{cast}. {one_hot}."
