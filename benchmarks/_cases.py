"""The cases of the transform benchmark, and the builders of its contenders.

A ``Builder`` takes a ``Case`` and returns a ``Contender``. It raises ``NotMeasured``,
with the reason, if a library is not installed or has no such mode, so that no library
is left out silently.
"""

import importlib
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from benchmarks._measure import Contender, compiled

ALPHA = 1.0
KEYS = 16


class Case(NamedTuple):
    """A method and the batch that it is applied to.

    Attributes:
      method: ``"mixup"`` or ``"cutmix"``.
      per: ``"batch"`` for a single lam or box, ``"example"`` for one per example.
      dtype: ``"float32"`` or ``"bfloat16"``; ``"uint8"`` is cast to bfloat16 and scaled
        by 1/255 within the timed function, then mixed.
      shape: shape of the images, ``[B, H, W, C]``; PyTorch takes ``[B, C, H, W]``.
      classes: number of classes of the labels, which are mixed too.
    """

    method: str
    per: str
    dtype: str
    shape: tuple[int, int, int, int]
    classes: int = 10


class NotMeasured(Exception):
    """Raised with the reason why a library has no row."""


Builder = Callable[[Case], Contender]


def on_jax(mix: Callable[..., Any], case: Case) -> Contender:
    """Return ``mix(key, images, labels)``, compiled ahead, with varying keys."""
    return on_bytes(float_first(mix, case), case)


def on_bytes(mix: Callable[..., Any], case: Case) -> Contender:
    """Do as ``on_jax``, for a ``mix`` that casts uint8 images itself."""
    program = compiled(mix, *abstract(case))
    _, x, y = arrays(case)
    keys = itertools.cycle(jax.random.split(jax.random.key(0), KEYS))
    return Contender(lambda: program(next(keys), x, y), program=program)


def float_first(mix: Callable[..., Any], case: Case) -> Callable[..., Any]:
    """Return ``mix`` applied to scaled bfloat16 images if the case has uint8 images."""
    if case.dtype != "uint8":
        return mix
    return lambda key, x, y: mix(key, scaled(x), y)


def scaled(x: jax.Array) -> jax.Array:
    """Return uint8 as bfloat16 in [0, 1], scaled in float32, fastest on CPUs."""
    return widely_scaled(x).astype(jnp.bfloat16)


def widely_scaled(x: jax.Array) -> jax.Array:
    """Return uint8 as float32 in [0, 1]."""
    return x.astype(jnp.float32) * jnp.float32(1 / 255)


def arrays(case: Case) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return a key, images and one-hot labels on the device."""
    key = jax.random.key(0)
    size = case.shape[0]
    bits = jax.random.bits(key, case.shape, jnp.uint8)
    x = bits if case.dtype == "uint8" else (bits.astype(case.dtype) / 255)
    y = jax.nn.one_hot(jnp.arange(size) % case.classes, case.classes)
    return jax.block_until_ready((key, x.astype(case.dtype), y))


def abstract(case: Case) -> Any:
    """Return the shapes and dtypes of ``arrays(case)``."""
    return jax.eval_shape(lambda: arrays(case))


def module(name: str, package: str) -> Any:
    """Import a module of another library; raise ``NotMeasured`` if it is missing."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise NotMeasured(f"not installed ({error}); pip install {package}") from error
