"""The mix that was drawn for a batch, and the deterministic half: applying it.

Long because each way to apply a mix is a method of one class.
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
    """The mix that was drawn for a batch, with the methods that apply it.

    For one source::

        x~[i] = w[i] * x[i] + (1 - w[i]) * x[partner[i]]       inputs
        y~[i] = lam[i] * y[i] + (1 - lam[i]) * y[partner[i]]   targets

    With several sources, each next one shows wherever those in front of it leave room:
    the second term is itself such a mixture, of the first partner's content and what is
    behind it.

    A mix is a pytree with the examples on axis 0 of every leaf: it passes through jit,
    vmap, scan, pmap, shard_map and ``jax.export``. Apply a mix returned by vmap or pmap
    under vmap or pmap. ``dataclasses.replace(mix, lam=...)`` changes the labels only;
    the weights of the inputs are those of the sources.

    The gradient with respect to a weight is 0 where the weight is exactly 0 or 1, since
    one side is then returned bit for bit; for inputs that a region pastes it is 0
    everywhere.

    Attributes:
      lam: float32 ``[B]``, the weight of the example's own label.
      sources: the sources behind the example's own content, from front to back; at
        least one.
      mixes_targets: whether targets are mixed. If not, ``lam`` is 1 and targets of any
        dtype are returned unchanged.

    Raises:
      TypeError: If, when applied, the partners are not integers.
      ValueError: If, when applied, ``lam`` and the partners differ in shape, or
        concrete values are out of range.

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
        """Return a mix with one partner for each example.

        Args:
          lam: weight of the example's own content and label, a scalar or ``[B]``, in
            [0, 1].
          partner: integer ``[B]``, each in [0, B).
          region: where the example's own content stays; ``None`` weights all positions
            equally.
          move: how partners travel; ``None`` gathers rows by index.

        Returns:
          The mix.

        Raises:
          TypeError: If the partners are not integers.
          ValueError: If the shapes differ, or concrete values are out of range.

        Example:
          >>> import jax.numpy as jnp, mixup_jax as mx
          >>> mix = mx.Mix.from_pairs(0.5, jnp.array([1, 0]))
          >>> mix.inputs(jnp.array([0.0, 8.0]))
          Array([4., 4.], dtype=float32)
        """
        # Before any conversion, which under jit would make concrete values traced.
        checks.number(lam, "mix: lam", 0, 1, SHARE)
        index = arrays.array(partner)
        if len(index.shape) != 1 or not jnp.issubdtype(index.dtype, jnp.number):
            raise TypeError(
                "mix: partner: expected integer partners, one for each example; "
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
        """The partner of each example in the first source, int32 ``[B]``."""
        return self.sources[0].partner

    @property
    def region(self) -> Region:
        """The region of the first source."""
        return self.sources[0].region

    @property
    def move(self) -> Move:
        """The move of the first source."""
        return self.sources[0].move

    def inputs(self, tree: Any, *, cast: Cast | None = None) -> Any:
        """Return ``tree`` mixed like the inputs.

        If all regions paste (CutMix), leaves may have any dtype but need the spatial
        sizes of the batch, with or without a channel axis. Containers of
        ``mixup_jax.follow`` follow their own rules.

        Args:
          tree: pytree of arrays.
          cast: converts a leaf to the values to be mixed, such as uint8 to float32. The
            result is that of ``inputs(jax.tree.map(cast, tree))`` in one pass, which
            reads and moves the uint8 values. It is called on every leaf, except for
            containers of ``mixup_jax.follow``; return a leaf as is to leave it
            unchanged. It must treat each example independently; elementwise functions,
            with constants per channel, are fused. To cast within a mixer, use
            ``cast_inputs``.

        Returns:
          ``tree``, mixed.

        Raises:
          TypeError: If a leaf, after ``cast``, would be blended but is neither
            floating-point nor complex.
          ValueError: If a leaf has another batch size or other spatial sizes. If
            ``cast`` changes the shape.

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
        """Return ``tree`` mixed like the targets, by ``lam`` and the sources' shares.

        Containers of ``mixup_jax.follow`` follow their own rules; wrap targets with a
        value at each position in ``follow.maps``.

        Args:
          tree: pytree of arrays.

        Returns:
          ``tree``, mixed.

        Raises:
          TypeError: If a leaf is neither floating-point nor complex.
          ValueError: If a leaf has another batch size. If it has the spatial sizes of
            the inputs, two or more, and positions are not mixed equally.
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
        """Return ``((share, content), ...)``, the terms that make up each example.

        The first term is the example's own, followed by one for each source. Shares are
        those of the labels, float32 ``[B]``, and sum to 1 up to rounding::

            share_0 = lam,  share_k = (1 - lam) * ... * lam_k,  the last without lam_k

        Args:
          tree: pytree of arrays of any dtype, such as integer labels ``[B]``; or
            ``follow.maps`` of one array, which also acts as ``like``.
          like: for dense targets, an array with the examples and the spatial sizes of
            the inputs, such as integer label maps ``[B, H, W]``. Shares are then those
            of each position in the inputs, float32, and broadcast with ``like``; the
            content of a source is seen through its window.

        Returns:
          A tuple of pairs ``(share, content)``.

        Raises:
          ValueError: If a leaf has another batch size or, with ``like``, other spatial
            sizes. If, without ``like``, a leaf has the spatial sizes of the inputs, two
            or more, and positions are not mixed equally. If ``tree`` contains maps
            beside other parts.

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
                    source.region.grid.axes_of(x)  # raises for other sizes
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
        """Return a mix of the same inputs whose own label has weight ``lam``.

        No gradient passes through ``lam``. Examples whose own weight in the inputs is 1
        keep ``lam = 1``.

        Args:
          lam: weight of the example's own label, a scalar or ``[B]``, in [0, 1].

        Returns:
          The mix, which mixes targets.

        Raises:
          ValueError: If ``lam`` has another shape, or a concrete one is out of range.

        Example:
          >>> import jax.numpy as jnp, mixup_jax as mx
          >>> mix = mx.Mix.from_pairs(jnp.array([0.75, 1.0]), jnp.array([1, 0]))
          >>> mix.with_label_weight(0.25).lam
          Array([0.25, 1.  ], dtype=float32)
        """
        first = self.drawn().sources[0]
        advice = "It is the weight of the example's own label, one for each example."
        checks.shaped(lam, "lam", [(), first.lam.shape], advice)
        checks.number(lam, "lam", 0, 1, advice)
        weight = jax.lax.stop_gradient(jnp.asarray(lam, jnp.float32))
        weight = jnp.broadcast_to(weight, first.lam.shape)
        weight, own = alike(weight, first.lam)
        weight = jnp.where(own == 1, 1.0, weight)
        return dataclasses.replace(self, lam=weight, mixes_targets=True)

    def coverage(self, sizes: Sequence[int], *, like: ArrayLike | None = None) -> Array:
        """Return each example's own share of the cells of a coarser grid.

        This is the mean weight of the example's own content over the cell; positions
        that overlap two cells count toward each in proportion to the overlap.

        Args:
          sizes: number of cells on each spatial axis, such as ``(14, 14)`` patches.
          like: any array with the examples on axis 0; the result is sharded like it
            over an Explicit mesh. ``None`` shards it like ``lam``.

        Returns:
          float32 ``[B, *sizes]``.

        Raises:
          ValueError: If ``sizes`` is not one number of at least 1 for each spatial axis
            of the region.

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
        """Return, for each position, whether any content visible there is True.

        Content is visible, through its window, where its weight is not 0. Use this for
        attention masks and events, of which a mixture contains those of all its
        sources.

        Args:
          masks: pytree of bool arrays with the spatial sizes of the inputs, with or
            without a channel axis.

        Returns:
          bool arrays of the same shapes.

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

        Layer 0 is the inputs. Unless the mix was drawn for that layer (``manifold``),
        the result leaves everything unchanged.

        Args:
          layer: number of the layer; 0 is the inputs.

        Returns:
          The mix for that layer.

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
        """Return ``(inputs, targets)``, both mixed; ``cast`` is that of ``inputs``."""
        inputs, targets = checks.pair(batch)
        return self.inputs(inputs, cast=cast), self.targets(targets)

    def drawn(self) -> "Mix":
        """Return the mix, validated, with float32 weights and int32 partners.

        Raises:
          TypeError: If the partners are not integers.
          ValueError: If ``lam`` and the partners differ in shape, or concrete values
            are out of range.
        """
        lam, sources = checked(self.lam, self.sources)
        return dataclasses.replace(self, lam=lam, sources=sources)

    def _label_weights(self) -> list[Array]:
        """Return the share of the label that the front of each source keeps."""
        lam = self.lam if self.mixes_targets else jnp.ones_like(self.lam)
        return list(alike(lam, *(source.lam for source in self.sources[1:])))

    def _of_labels(self) -> "Mix":
        """Return the mix whose regions describe where dense labels are mixed."""
        first, *others = (
            dataclasses.replace(source, region=source.region.of_labels())
            for source in self.sources
        )
        if self.mixes_targets:
            # An example may have been given to a mixer that leaves its label alone.
            lam, kept = alike(self.lam, first.lam)
            first = dataclasses.replace(first, lam=jnp.where(lam == 1, 1.0, kept))
        else:
            first = dataclasses.replace(first, region=Untouched())
        return dataclasses.replace(self, sources=(first, *others))

    def _weights_at(self, x: Array) -> list[Array]:
        """Return the share of each position that the front of each source keeps."""
        return [
            field(source.region, source.lam, x).astype(jnp.float32)
            for source in self._of_labels().sources
        ]

    def _refuse_positions(self, y: Array, where: str) -> None:
        """Raise ValueError if a leaf looks like dense labels that mix unequally."""
        grids = [source.region.grid for source in self.sources]
        if self.mixes_targets and any(grid and grid.covers(y.shape) for grid in grids):
            raise ValueError(
                f"{where}: expected labels of whole examples; got "
                f"{arrays.describe(y)}, with the spatial sizes of the inputs, whose "
                "positions are not mixed equally. If a mixer has already mixed them, "
                "position by position, leave out the mix: loss(logits, labels). If "
                "not, declare them as maps: mixup_jax.follow.maps(x) in the batch or "
                "in a loss, on_keys(..., maps=...) in a dict batch, or "
                "mix.terms(x, like=x). If they are labels of whole examples that have "
                "these sizes by chance, flatten them: x.reshape(len(x), -1)."
            )

    def _follow(
        self,
        name: str,
        function: Callable[[Array, str], Array] | None,
        tree: Any,
        to_follow: Callable[[], "Mix"],
    ) -> Any:
        """Return ``tree`` with followers mixed and ``function`` of other leaves."""

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
        """Return ``tree``, or raise ValueError for another number of examples."""
        checks.no_list(tree, name)
        advice = "Apply a mix only to the batch that it was drawn for."
        checks.sized(tree, len(self.lam), name, advice)
        return tree


def unmixed(batch: Batch) -> Mix:
    """Return the mix of a batch that is not mixed: ``lam = 1``, and no partners.

    Raises:
      TypeError: If a leaf is not an array of numbers.
      ValueError: If the batch is not a pair, is empty, or its leaves disagree on the
        batch size.
    """
    checks.pair(batch)
    size = checks.examples(batch)
    lam, partner = jnp.ones(size, jnp.float32), jnp.arange(size, dtype=jnp.int32)
    alone = Source(partner, lam, Untouched(), Stay())
    return Mix(lam, (alone,), mixes_targets=False)


def _about_inputs(leaf: Any) -> str:
    """Return advice about inputs that cannot be blended."""
    follows = "Masks of 0 and 1", "masks"
    if leaf.ndim == 1 and leaf.dtype != bool:
        follows = "Lengths", "lengths"
    what, rule = follows
    return (
        "Cast or scale integer inputs: mix.inputs(x, cast=lambda x: x / 255), or "
        "through a mixer mixup_jax.cast_inputs(mixer, cast), both in one pass. "
        f"One-hot encode maps of class ids. {what} follow as "
        f"mixup_jax.follow.{rule}(x), or in a dict batch by on_keys(..., {rule}=...)."
    )


def _about_labels(leaf: Any) -> str:
    """Return advice about targets that cannot be blended."""
    cast = "Cast labels of 0 and 1, one for each class, with labels.astype(float)"
    if leaf.dtype == bool:
        return f"{cast}. Masks follow as mixup_jax.follow.masks(x)."
    one_hot = (
        "One-hot encode integer labels with mixup_jax.losses.one_hot(labels, classes); "
        "or leave them out of the batch and use "
        "mixup_jax.losses.termwise(loss)(logits, labels, mix)"
    )
    return f"{one_hot}." if leaf.ndim == 1 else f"{cast}. {one_hot}."
