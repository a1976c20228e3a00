"""What was drawn for a batch, and the deterministic half: to apply it.

Long because whatever follows a mix is a method of one class, and each says what it
does.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from mixup_jax._core import arrays, checks, leaf
from mixup_jax._core.cast import Cast
from mixup_jax._core.coverage import cell_shares
from mixup_jax._core.follow import content, is_follower, noted, positions_of
from mixup_jax._core.mesh import alike, on_mesh_of
from mixup_jax._core.move import Move
from mixup_jax._core.moves import Gather, Stay
from mixup_jax._core.region import Everywhere, Region, Untouched, field, through
from mixup_jax._core.register import pytree
from mixup_jax._core.source import PLACE, SHARE, Source, checked, seen
from mixup_jax._core.types import Batch, Mixed

Terms = tuple[tuple[Array, Any], ...]
_PATCHES = "Count the patches along each axis: (14, 14)."


@pytree
@dataclasses.dataclass(frozen=True, eq=False)
class Mix:
    """What was drawn for a batch; applies the same mix to whatever else must follow.

    For one source::

        x~[i] = w[i] * x[i] + (1 - w[i]) * x[partner[i]]       inputs
        y~[i] = lam[i] * y[i] + (1 - lam[i]) * y[partner[i]]   targets

    For several, each next source is seen where those before it leave room: the second
    side is itself such a mixture of the first partner's content and what lies behind.

    A pytree with the examples on axis 0 of every leaf: it passes through jit, vmap,
    scan, pmap, shard_map and ``jax.export``. To apply a mix that came out of vmap or
    pmap, map again.
    ``dataclasses.replace(mix, lam=...)`` changes the labels alone, the inputs' weights
    are those of the sources.

    The gradient by a weight is 0 where it is exactly 0 or 1, since one side then comes
    back bit for bit; for inputs that a region pastes it is 0 everywhere.

    Attributes:
      lam: float32 ``[B]``, the weight of the example's own label.
      sources: who lies behind the own content, from front to back; at least one.
      mixes_targets: whether targets are mixed. If not, ``lam`` is 1 and targets stay as
        they are, whatever their dtype.

    Raises:
      TypeError: (when applied) If partners are not integers.
      ValueError: (when applied) If ``lam`` and the partners have other shapes, or
        concrete ones are out of range.

    Example:
      >>> import jax.numpy as jnp, mixup_jax as mx
      >>> mix = mx.Mix.from_pairs(jnp.array([0.75, 0.5]), jnp.array([1, 0]))
      >>> mix.targets(jnp.array([[1.0, 0.0], [0.0, 1.0]]))
      Array([[0.75, 0.25],
             [0.5 , 0.5 ]], dtype=float32)
    """

    lam: Array
    sources: tuple[Source, ...]
    mixes_targets: bool = dataclasses.field(default=True, metadata={"static": True})

    @classmethod
    def from_pairs(
        cls,
        lam: ArrayLike,
        partner: ArrayLike,
        *,
        region: Region | None = None,
        move: Move | None = None,
    ) -> "Mix":
        """Return the mix of one partner for each example.

        Args:
          lam: the own weight in inputs and targets, ``[B]`` or one for all, in [0, 1].
          partner: integer ``[B]``, each in [0, B).
          region: where the own content stays; None is everywhere alike.
          move: how partners travel; None picks rows by index.

        Raises:
          TypeError: If partners are not integers.
          ValueError: If the shapes differ, or concrete values are out of range.

        Example:
          >>> import jax.numpy as jnp, mixup_jax as mx
          >>> mix = mx.Mix.from_pairs(0.5, jnp.array([1, 0]))
          >>> mix.inputs(jnp.array([0.0, 8.0]))
          Array([4., 4.], dtype=float32)
        """
        # While they are concrete, which under jit they are only as they were given.
        checks.number(lam, "mix: lam", 0, 1, SHARE)
        index = arrays.array(partner)
        if len(index.shape) != 1 or not jnp.issubdtype(index.dtype, jnp.number):
            raise TypeError(
                "mix: partner: expected an array of integers, one for each example; "
                f"got {arrays.describe(partner)}. {PLACE}"
            )
        checks.known(index.shape, "mix: partner", "number of examples")
        checks.number(index, "mix: partner", 0, max(len(index) - 1, 0), PLACE)
        weight = jnp.asarray(lam, jnp.float32)
        if not weight.shape:
            weight = jnp.broadcast_to(weight, index.shape)
        region = Everywhere() if region is None else region
        move = Gather() if move is None else move
        source = Source(index, weight, region, move)
        return cls(weight, (source,)).drawn()

    @property
    def partner(self) -> Array:
        """The first source's partner, int32 ``[B]``."""
        return self.sources[0].partner

    @property
    def region(self) -> Region:
        """The first source's region."""
        return self.sources[0].region

    @property
    def move(self) -> Move:
        """The first source's move."""
        return self.sources[0].move

    def inputs(self, tree: Any, *, cast: Cast | None = None) -> Any:
        """Return ``tree`` mixed as the inputs were.

        Where all regions paste (CutMix), a leaf needs the spatial sizes of the batch,
        with or without a channel axis, and may have any dtype. Containers of
        ``mixup_jax.follow`` follow by their rules.

        Args:
          tree: pytree of arrays.
          cast: makes of a leaf what is to be mixed, such as bytes floats. The result is
            that of ``inputs(jax.tree.map(cast, tree))``, in one pass: it is the bytes
            that are read and that travel. Every leaf is handed to it, but for those
            that follow by a rule of their own; to leave one alone it returns it. What
            it makes of an example depends on that example alone; elementwise, with
            constants for each channel, it is fused. Through a mixer:
            ``cast_inputs``.

        Raises:
          TypeError: If a leaf would be blended and is neither floating nor complex, as
            ``cast`` returned it.
          ValueError: If a leaf has another batch size or other spatial sizes; if
            ``cast`` returns another shape.

        Example:
          >>> import jax.numpy as jnp, mixup_jax as mx
          >>> mix = mx.Mix.from_pairs(0.5, jnp.array([1, 0]))
          >>> mix.inputs(jnp.array([0, 128], jnp.uint8), cast=lambda x: x / 256)
          Array([0.25, 0.25], dtype=float32)
        """
        mix = self.drawn()
        sources = seen(mix.sources)

        def of_leaf(x: Array, where: str) -> Array:
            where = "inputs" if cast is None else where
            return leaf.mixed(x, sources, where, _about_inputs, cast)

        does = bool(sources) or cast is not None
        return mix._follow("inputs", of_leaf if does else None, tree, lambda: mix)

    def targets(self, tree: Any) -> Any:
        """Return ``tree`` mixed as the targets were, by ``lam`` and the shares behind.

        Containers of ``mixup_jax.follow`` follow by their rules: ``follow.maps`` hold
        what has a value at each position.

        Raises:
          TypeError: If a leaf is neither floating nor complex.
          ValueError: If a leaf has another batch size; or the spatial sizes of the
            inputs, two or more, where positions are not mixed alike.
        """
        mix = self.drawn()
        if not self.mixes_targets:
            return self._of_batch("targets", tree)
        weights = mix._label_weights()

        def of_leaf(y: Array, where: str) -> Array:
            mix._refuse_positions(y, where)
            checks.blendable(y, where, _about_labels)
            return leaf.weighed(y, mix.sources, weights)

        return mix._follow("targets", of_leaf, tree, functools.cache(mix._of_labels))

    def partners(self, tree: Any) -> Any:
        """Return values gathered from each example's first partner, any dtype."""
        first = self.drawn().sources[0]
        return self._map(
            "partners", lambda x, _: first.move.take(x, first.partner), tree
        )

    def terms(self, tree: Any, *, like: ArrayLike | None = None) -> Terms:
        """Return ``((share, content), ...)``: what of ``tree`` each example is made of.

        The first term is the example's own, then comes one for each source. Shares are
        those of the labels, float32 ``[B]``, and sum to 1 but for rounding::

            share_0 = lam,  share_k = (1 - lam) * ... * lam_k,  the last without lam_k

        Args:
          tree: pytree of arrays of any dtype, such as integer labels ``[B]``; or
            ``follow.maps`` of one array, which is ``like`` as well.
          like: for dense targets, an array with the examples and the spatial sizes of
            the inputs, such as integer label maps ``[B, H, W]``. Shares are then those
            of each position in the inputs, float32, and broadcast with ``like``; what
            sources have is seen through their windows.

        Raises:
          ValueError: If a leaf has another batch size, or, with ``like``, other spatial
            sizes; without it, if a leaf has the spatial sizes of the inputs, two or
            more, where positions are not mixed alike; if ``tree`` has maps in it
            beside other things.

        Example:
          >>> import jax.numpy as jnp, mixup_jax as mx
          >>> mix = mx.Mix.from_pairs(jnp.array([0.75, 0.5]), jnp.array([1, 0]))
          >>> for share, label in mix.terms(jnp.array([3, 7])):
          ...     print(share, label)
          [0.75 0.5 ] [3 7]
          [0.25 0.5 ] [7 3]
        """
        mix = self.drawn()
        sources = mix.sources
        dense = positions_of(tree) if like is None else content(like, "like")
        if dense is None:
            weights = mix._label_weights()
        else:
            x = arrays.exact(self._of_batch("like", arrays.array(dense)), "like")
            weights = mix._weights_at(x)
        shares, left = [], None
        for w in weights:
            shares.append(w if left is None else left * w)
            left = 1 - w if left is None else left * (1 - w)
        shares.append(left)

        def own(x: Array, where: str) -> Array:
            if dense is None:
                mix._refuse_positions(x, where)
                return x
            for source in sources:
                if source.region.grid:
                    source.region.grid.axes_of(x)  # refuses another size
            return x

        def behind(source: Source, x: Array, _: str) -> Array:
            taken = source.move.take(x, source.partner)
            return taken if dense is None else through(source.region, taken)

        fronts = [own, *(functools.partial(behind, source) for source in sources)]
        return tuple(
            (share, self._map("terms", front, tree))
            for share, front in zip(shares, fronts)
        )

    def with_label_weight(self, lam: ArrayLike) -> "Mix":
        """Return the mix of the same inputs in which the own label weighs ``lam``.

        No gradient passes through ``lam``. Examples whose own weight in the inputs is 1
        keep 1.

        Args:
          lam: ``[B]`` or one for all, in [0, 1].

        Raises:
          ValueError: If ``lam`` has another shape, or a concrete one is out of range.

        Example:
          >>> import jax.numpy as jnp, mixup_jax as mx
          >>> mix = mx.Mix.from_pairs(jnp.array([0.75, 1.0]), jnp.array([1, 0]))
          >>> mix.with_label_weight(0.25).lam
          Array([0.25, 1.  ], dtype=float32)
        """
        first = self.drawn().sources[0]
        advice = "It is the weight of the own label, one for each example."
        checks.shaped(lam, "lam", [(), first.lam.shape], advice)
        checks.number(lam, "lam", 0, 1, advice)
        weight = jax.lax.stop_gradient(jnp.asarray(lam, jnp.float32))
        weight = jnp.broadcast_to(weight, first.lam.shape)
        weight, own = alike(weight, first.lam)
        weight = jnp.where(own == 1, 1.0, weight)
        return dataclasses.replace(self, lam=weight, mixes_targets=True)

    def coverage(self, sizes: Sequence[int], *, like: ArrayLike | None = None) -> Array:
        """Return the own share of each cell of a coarser grid, in the inputs.

        The mean weight of the own content over the cell; positions that lie in two
        cells count in each by their part.

        Args:
          sizes: cells on each spatial axis, such as ``(14, 14)`` patches.
          like: any array with the examples, whose layout over an Explicit mesh the
            result gets; None is that of ``lam``.

        Returns:
          float32 ``[B, *sizes]``.

        Raises:
          ValueError: If ``sizes`` are not one number of at least 1 for each spatial
            axis of what was drawn.

        Example:
          >>> import jax.numpy as jnp, mixup_jax as mx
          >>> grid = mx.regions.grid(jnp.zeros((1, 4, 4, 1)))
          >>> box = mx.regions.Box(jnp.array([[0, 0]]), jnp.array([[2, 3]]), grid)
          >>> mix = mx.Mix.from_pairs(0.625, jnp.array([0]), region=box)
          >>> mix.coverage((2, 2))
          Array([[[0. , 0.5],
                  [1. , 1. ]]], dtype=float32)
        """
        mix = self.drawn()
        first = mix.sources[0]
        grid = first.region.grid
        cells = checks.counts(sizes, "coverage: sizes", _PATCHES)
        if grid is not None and len(cells) != len(grid.sizes):
            raise ValueError(
                "coverage: expected the number of cells on each spatial axis, "
                f"{len(grid.sizes)}; got {cells}. {_PATCHES}"
            )
        layout = (
            first.lam if like is None else jnp.asarray(self._of_batch("like", like))
        )
        return cell_shares(first.region, first.lam, cells, layout)

    def union(self, masks: Any) -> Any:
        """Return, per position, whether any content that is seen there has True.

        Seen is a source of a weight other than 0, through its window: for attention
        masks and events, of which a mixture holds those of all.

        Args:
          masks: pytree of bool arrays with the spatial sizes of the inputs, with or
            without a channel axis.

        Raises:
          TypeError: If a leaf is not bool.
          ValueError: If a leaf has another batch size or other spatial sizes.

        Example:
          >>> import jax.numpy as jnp, mixup_jax as mx
          >>> mix = mx.Mix.from_pairs(jnp.array([0.5, 1.0]), jnp.array([1, 0]))
          >>> mix.union(jnp.array([[True, False], [True, True]]))
          Array([[ True,  True],
                 [ True,  True]], dtype=bool)
        """
        sources = seen(self.drawn().sources)

        def joined(mask: Array, where: str) -> Array:
            if mask.dtype != jnp.bool_:
                raise TypeError(
                    f"{where}: expected bool masks; got {arrays.describe(mask)}. "
                    "Compare first: mask > 0."
                )
            return leaf.largest_seen(mask, sources)

        return self._map("union", joined, masks)

    def at(self, layer: int) -> "Mix":
        """Return the mix of a hidden layer: ``hidden = mix.at(2).inputs(hidden)``.

        Layer 0 is the inputs. Unless it was drawn for that layer (``manifold``), it
        leaves everything as it is.

        Raises:
          ValueError: If ``layer`` is not an integer of at least 0.
        """
        if not isinstance(layer, int | np.integer) or layer < 0:
            raise ValueError(
                f"at: expected the number of a layer, 0 for the inputs; got {layer!r}. "
                "Number hidden layers from 1."
            )
        return dataclasses.replace(
            self,
            sources=tuple(
                dataclasses.replace(source, region=source.region.at(layer))
                for source in self.sources
            ),
        )

    def batch(self, batch: Batch, *, cast: Cast | None = None) -> Mixed:
        """Return ``(inputs, targets)``, each mixed; ``cast`` is that of ``inputs``."""
        inputs, targets = checks.pair(batch)
        return self.inputs(inputs, cast=cast), self.targets(targets)

    def drawn(self) -> "Mix":
        """Return the mix with float32 weights and int32 partners, whoever made it.

        Raises as applying the mix does.
        """
        lam, sources = checked(self.lam, self.sources)
        return dataclasses.replace(self, lam=lam, sources=sources)

    def _label_weights(self) -> list[Array]:
        """Return what each front keeps of the label."""
        lam = self.lam if self.mixes_targets else jnp.ones_like(self.lam)
        return list(alike(lam, *(source.lam for source in self.sources[1:])))

    def _of_labels(self) -> "Mix":
        """Return the mix whose regions say where labels of positions are mixed."""
        first, *others = (
            dataclasses.replace(source, region=source.region.of_labels())
            for source in self.sources
        )
        if self.mixes_targets:
            # Chosen for an example may be a mixer that leaves its label alone.
            lam, kept = alike(self.lam, first.lam)
            first = dataclasses.replace(first, lam=jnp.where(lam == 1, 1.0, kept))
        else:
            first = dataclasses.replace(first, region=Untouched())
        return dataclasses.replace(self, sources=(first, *others))

    def _weights_at(self, x: Array) -> list[Array]:
        """Return what each front keeps of the positions of dense targets."""
        return [
            field(source.region, source.lam, x).astype(jnp.float32)
            for source in self._of_labels().sources
        ]

    def _refuse_positions(self, y: Array, where: str) -> None:
        """Raise ValueError if a leaf looks like labels of positions that differ."""
        grids = [source.region.grid for source in self.sources]
        if self.mixes_targets and any(grid and grid.covers(y.shape) for grid in grids):
            raise ValueError(
                f"{where}: expected labels of whole examples; got "
                f"{arrays.describe(y)}, with the spatial sizes of the inputs, whose "
                "positions are not mixed alike. If a mixer has mixed them already, "
                "position by position, leave out the mix: loss(logits, labels). If "
                "not, declare maps, which follow so: mixup_jax.follow.maps(x) in the "
                "batch or in a loss, on_keys(..., maps=...) in a dict batch, or "
                "mix.terms(x, like=x). Labels of whole examples that have such sizes "
                "by chance: x.reshape(len(x), -1)."
            )

    def _follow(
        self,
        name: str,
        function: Callable[[Array, str], Array] | None,
        tree: Any,
        to_follow: Callable[[], "Mix"],
    ) -> Any:
        """Return ``tree`` with followers mixed, and ``function`` of other leaves."""

        def applied(path: Any, part: Any) -> Any:
            where = name + jax.tree_util.keystr(path)
            if is_follower(part):
                with noted(part, where):
                    return part.mixed(to_follow())
            return function(self._exact(part, where), where) if function else part

        tree = self._of_batch(name, tree)
        return jax.tree.map_with_path(applied, tree, is_leaf=is_follower)

    def _map(
        self, name: str, function: Callable[[Array, str], Array], tree: Any
    ) -> Any:
        def applied(path: Any, part: Any) -> Array:
            where = name + jax.tree_util.keystr(path)
            return function(self._exact(part, where), where)

        return jax.tree.map_with_path(applied, self._of_batch(name, tree))

    def _exact(self, part: Any, where: str) -> Array:
        return on_mesh_of(self.lam, arrays.exact(part, where))

    def _of_batch(self, name: str, tree: Any) -> Any:
        """Return ``tree``, or raise if it does not hold as many examples."""
        checks.no_list(tree, name)
        advice = "Apply a mix to the batch that it was drawn for."
        checks.sized(tree, len(self.lam), name, advice)
        return tree


def unmixed(batch: Batch) -> Mix:
    """Return the mix of a batch that is not mixed: ``lam = 1``, and no partners.

    Raises as ``compose`` does.
    """
    checks.pair(batch)
    size = checks.examples(batch)
    lam, partner = jnp.ones(size, jnp.float32), jnp.arange(size, dtype=jnp.int32)
    alone = Source(partner, lam, Untouched(), Stay())
    return Mix(lam, (alone,), mixes_targets=False)


def _about_inputs(leaf: Any) -> str:
    """Say what to do with inputs that cannot be blended."""
    follows = "Masks of 0 and 1", "masks"
    if leaf.ndim == 1 and leaf.dtype != bool:
        follows = "Lengths", "lengths"
    what, rule = follows
    return (
        "Cast or scale integer inputs: mix.inputs(x, cast=lambda x: x / 255), or "
        "through a mixer mixup_jax.cast_inputs(mixer, cast), both in one pass. "
        f"One-hot maps of class ids. {what} follow as mixup_jax.follow.{rule}(x), or "
        f"in a dict batch by on_keys(..., {rule}=...)."
    )


def _about_labels(leaf: Any) -> str:
    """Say what to do with targets that cannot be blended."""
    cast = "Cast labels of 0 and 1, one for each class, with labels.astype(float)"
    if leaf.dtype == bool:
        return f"{cast}. Masks follow as mixup_jax.follow.masks(x)."
    one_hot = (
        "One-hot integer labels with mixup_jax.losses.one_hot(labels, classes); or "
        "leave them out of the batch and use "
        "mixup_jax.losses.termwise(loss)(logits, labels, mix)"
    )
    return f"{one_hot}." if leaf.ndim == 1 else f"{cast}. {one_hot}."
