"""A train step on the devices of a mesh, as returned by the drivers."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
from jax import Array

from mixup_jax._core import checks, layouts
from mixup_jax._core.versions import set_mesh, use_abstract_mesh
from mixup_jax.training import _placement, _traced
from mixup_jax.training._donation import Returned
from mixup_jax.training._loss import Metrics
from mixup_jax.training._step import S


class Run(Protocol):
    """A train step on several devices, as returned by ``pmapped`` and ``sharded``."""

    def __call__(self, state: S, key: Array, batch: Any) -> tuple[S, Metrics]: ...

    def lower(self, state: Any, key: Any, batch: Any) -> jax.stages.Lowered:
        """Lower the step for these arguments, like ``jax.jit(...).lower``.

        Args:
          state: as in a call; leaves may be ``jax.ShapeDtypeStruct``.
          key: as in a call, or a ``jax.ShapeDtypeStruct``.
          batch: as in a call; leaves may be ``jax.ShapeDtypeStruct`` with the shapes of
            the whole batch.

        Returns:
          The lowered computation.
        """
        ...


class Layouts(NamedTuple):
    """The shardings that a driver gives to its arguments.

    Attributes:
      state: layout of the leaves of the state.
      batch: layout of the leaves of the batch.
      check_state: function that raises if a leaf of the state cannot be placed.
    """

    state: layouts.Layout
    batch: layouts.Layout
    check_state: Callable[..., None]


class Driven:
    """A step that places its arguments on a mesh and donates its state.

    Attributes:
      mesh: the mesh; created on first use, so that no backend is initialized earlier.
    """

    def __init__(
        self,
        step_on: Callable[[jax.sharding.Mesh], Callable[..., Any]],
        mesh: Callable[[], jax.sharding.Mesh],
        at: Layouts,
    ):
        self._step_on, self._mesh_of, self._at = step_on, mesh, at
        self._returned = Returned()

    @functools.cached_property
    def mesh(self) -> jax.sharding.Mesh:
        return self._mesh_of()

    @functools.cached_property
    def _program(self) -> Any:
        step = _traced.keeping(self._step_on(self.mesh), self.mesh)
        return jax.jit(step, donate_argnums=0, static_argnums=3)

    def __call__(self, state: Any, key: Any, batch: Any) -> Any:
        if _traced.is_traced(state, key, batch):
            return self._within(state, key, batch)
        given = key, batch
        key, batch = self._beside(_placement.placed, key, batch)

        def place(leaves: list[Any]) -> list[Any]:
            self._check_state(jax.tree.unflatten(jax.tree.structure(state), leaves))
            return _placement.placed(leaves, self.mesh, self._at.state)

        state = self._returned.or_placed(state, place, beside=(given, key, batch))
        specs = tuple(map(layouts.spec_of, jax.tree.leaves(state)))
        with set_mesh(self.mesh):
            state, metrics = self._program(state, key, batch, specs)
        self._returned.keep(state)
        return state, metrics

    def lower(self, state: Any, key: Any, batch: Any) -> jax.stages.Lowered:
        with set_mesh(self.mesh):  # a shape with a bare spec refers to it
            self._check_state(state)
            state = _placement.described(state, self.mesh, self._at.state)
            batch = _placement.of_all(batch)
            key, batch = self._beside(_placement.described, key, batch)
            specs = tuple(map(layouts.spec_of, jax.tree.leaves(state)))
            return self._program.lower(state, key, batch, specs)

    def _within(self, state: Any, key: Any, batch: Any) -> Any:
        """Run within a program being traced, which places and donates its arrays."""
        with use_abstract_mesh(self.mesh.abstract_mesh):
            key, batch = self._beside(_traced.laid, key, batch)
            self._check_state(state)
            state = _traced.laid(state, self.mesh, self._at.state)
            return self._program(state, key, batch, None)

    def _check_state(self, state: Any) -> None:
        self._at.check_state(checks.leaves(state, "state"), self.mesh)

    def _beside(self, put: Callable[..., Any], key: Any, batch: Any) -> Any:
        """Return the key and the batch, placed by ``put``."""
        _placement.check_batch(batch, self.mesh, self._at.batch)
        _placement.check_kept([("key", key)], self.mesh)
        batch = put(_placement.fitting(batch), self.mesh, self._at.batch)
        return put(key, self.mesh, layouts.kept), batch
