"""The figure of a batch before and after mixing."""

import contextlib
import operator
import reprlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from mixup_jax import follow
from mixup_jax._core import arrays, checks
from mixup_jax._core.follow import blended, content, is_follower
from mixup_jax._core.mix import Mix
from mixup_jax._core.types import Batch
from mixup_jax.plot import _labels
from mixup_jax.plot._draw import draw
from mixup_jax.plot._kinds import Show, show_for
from mixup_jax.plot._rows import Content, rows_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure
else:
    Figure = object  # so that annotations can be evaluated without Matplotlib

_ADVICE = 'Pass the arrays to draw: plot((batch["image"], batch["label"]), mix).'


def plot(
    batch: Batch,
    mix: Mix | Mapping[str, Mix],
    *,
    examples: int | Sequence[int] = 4,
    classes: Sequence[str] | None = None,
    show: Show | None = None,
) -> Figure:
    """Return a figure of a batch before and after mixing.

    Each example is a column: its own content, its partner's content, the mixture with
    ``lam`` and the mixed label, and the weight of its own content at each position.
    With several sources, there is a row for each partner and each weight. Label maps in
    the targets (``follow.maps``) are drawn beside the inputs.

    ``[B, T]`` and ``[B, T, C]`` with at most 4 channels are drawn as curves,
    ``[B, H, W]`` and ``[B, H, W, C]`` with 1, 3 or 4 channels as images. Floating-point
    values outside [0, 1] are scaled to their range, which the figure states. It also
    states how many of the values in its panels are not finite.

    A mix of a hidden layer leaves the inputs unchanged: their weight is 1, and only
    labels are mixed. The noise of ``gaussian`` is not part of a ``Mix`` and is not
    shown.

    Args:
      batch: pair ``(inputs, targets)`` before mixing; a mixed batch is mixed again,
        which cannot be detected. ``inputs`` contain one array of two or more axes.
        ``targets`` are ``None``, class ids ``[B]``, numbers ``[B]`` or ``[B, K]``, or
        class weights ``[B, K]`` in [0, 1], each with or without ``follow.maps`` beside
        them.
      mix: the ``Mix`` that was drawn for the batch; or several by name, to compare the
        mixtures of several methods, without their weights.
      examples: number of examples to show, starting with the first; or their indices.
      classes: names of the classes, in the order of their ids.
      show: function ``(axes, example)`` that draws one example, a NumPy array, on
        Matplotlib axes. ``None`` takes the one that the shape determines. For
        spectrograms ``[B, F, T]``, pass
        ``partial(Axes.imshow, origin="lower", aspect="auto")``; for channels-first
        images, ``lambda axes, x: axes.imshow(x.transpose(1, 2, 0))``. It also draws the
        weights, in the shape of an example, so it should not change values: undo a
        normalization in the batch instead.

    Returns:
      A ``matplotlib.figure.Figure`` that is not registered with pyplot: save it with
      ``figure.savefig(path)``. Notebooks display it after ``%matplotlib inline``.

    Raises:
      ModuleNotFoundError: If Matplotlib is not installed.
      TypeError: If ``mix`` is not a ``Mix``, ``show`` is not callable, ``examples`` are
        not integers, ``classes`` are not a sequence of strings, or values are complex.
      ValueError: If the batch is not a pair, is empty, or its leaves disagree on the
        batch size. If it does not have exactly one array to draw, or its shape contains
        a 0 or does not determine how. If values are traced, or the mix, ``examples`` or
        ``classes`` do not fit the batch.

    Example:
      >>> import jax, mixup_jax as mx
      >>> images = jax.random.uniform(jax.random.key(0), (8, 16, 16, 3))
      >>> batch = images, mx.losses.one_hot(jax.numpy.arange(8), 8)
      >>> _, mix = mx.cutmix(jax.random.key(1), batch)
      >>> figure = mx.plot(batch, mix, examples=3, classes=list("abcdefgh"))
      >>> len(figure.axes)  # four rows of three, and a color bar
      13
    """
    figure = _figure()
    mixes = {"mixed": mix} if not isinstance(mix, Mapping) else mix
    classes = _labels.names(classes)
    shown, dtype = _shown(batch, mixes, examples, classes)
    if show is None:
        show = show_for(shown.inputs.shape)
    checks.function(show, "plot: show", "lambda axes, x: axes.imshow(x)")
    draw(figure, rows_of(shown, mixes), show, dtype, classes)
    return figure


def _figure() -> Any:
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "matplotlib":
            raise
        message = "mixup_jax.plot needs Matplotlib: pip install 'mixup-jax[plot]'"
        raise ModuleNotFoundError(message, name="matplotlib") from error
    return Figure(layout="constrained")


def _shown(
    batch: Any,
    mixes: Mapping[str, Mix],
    examples: int | Sequence[int],
    classes: Sequence[str] | None,
) -> tuple[Content, Any]:
    """Return the parts of the batch that are shown, and the dtype of its inputs."""
    for each in mixes.values():
        if not isinstance(each, Mix):
            raise TypeError(
                "plot: mix: expected a Mix, or several by name; got "
                f"{arrays.describe(each)}. Pass what a mixer returns second: "
                "batch, mix = mixer(key, batch)."
            )
    if not mixes:
        raise ValueError(
            "plot: mix: expected a Mix, or several by name; got none. Pass at least "
            "one."
        )
    if isinstance(batch, Mapping) or not isinstance(batch, tuple | list):
        raise ValueError(
            "plot: batch: expected a pair (inputs, targets); got "
            f"{arrays.describe(batch)}. {_ADVICE}"
        )
    inputs, targets = checks.pair(batch)
    size = checks.examples((inputs, targets))
    if not all(map(arrays.is_concrete, jax.tree.leaves((batch, mixes)))):
        raise ValueError(
            "plot: expected concrete values; got traced ones, or arrays of other "
            "processes. Return the mix from jit and plot it outside."
        )
    x, (label, maps) = _to_draw(inputs), _of_targets(targets)
    real = x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(np.float32)
    return Content(real, label, maps, _rows(examples, size), classes), x.dtype


def _to_draw(inputs: Any) -> Any:
    """Return the only array of the inputs that has positions."""
    found = [x for x in blended(inputs) if x.ndim > 1]
    if len(found) != 1:
        got = ", ".join(map(arrays.describe, found)) or "none"
        raise ValueError(
            "plot: inputs: expected one array of two or more axes, [B, T, ...]; got "
            f"{got}. {_ADVICE}"
        )
    if jnp.issubdtype(found[0].dtype, jnp.complexfloating):
        raise TypeError(
            "plot: inputs: expected real values; got "
            f"{arrays.describe(found[0])}. Draw their magnitude: jax.numpy.abs(x)."
        )
    if 0 in found[0].shape:
        raise ValueError(
            "plot: inputs: expected at least one value in each example; got "
            f"{arrays.describe(found[0])}. Check how the batch was loaded."
        )
    return found[0]


def _of_targets(targets: Any) -> tuple[Any, Any]:
    """Return the labels and the label maps, each ``None`` if there are none."""
    parts = jax.tree.leaves(targets, is_leaf=is_follower)
    plain = [part for part in parts if not is_follower(part)]
    maps = [content(part, "maps") for part in parts if isinstance(part, follow.Maps)]
    if len(plain) > 1 or len(maps) > 1:
        raise ValueError(
            "plot: targets: expected at most one array of labels and one of maps; got "
            f"{len(plain)} and {len(maps)}. {_ADVICE}"
        )
    label = _labels.checked(plain[0]) if plain else None
    if not maps:
        return label, None
    (held,) = maps
    return label, held.astype(np.int32) if held.dtype == bool else held


def _rows(examples: Any, size: int) -> list[int]:
    """Return the indices of the examples to show."""
    with contextlib.suppress(TypeError):
        number = _index(examples)
        advice = "It is the number of examples to show."
        return list(range(min(checks.count(number, "plot: examples", advice), size)))
    try:
        rows = [_index(each) for each in examples]
    except TypeError:
        raise TypeError(
            "plot: examples: expected an integer or a sequence of integers; got "
            f"{reprlib.repr(examples)}. Pass the number of examples to show, or their "
            "indices; for a mask, numpy.flatnonzero(mask)."
        ) from None
    if not rows or not all(0 <= row < size for row in rows):
        raise ValueError(
            f"plot: examples: expected at least one index, from 0 to {size - 1}; got "
            f"{rows}. Pass a number to show the first ones."
        )
    return rows


def _index(value: Any) -> int:
    """Return an integer; raise TypeError for any other value, True and False too."""
    if isinstance(value, bool):
        raise TypeError("expected an integer; got a bool")
    return operator.index(value)
