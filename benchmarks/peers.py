"""Who else mixes: each peer by its public calls, as it ships, in one table.

A builder takes a `Case` and returns a `Contender`. It raises `NotMeasured`, with the
reason, where the peer is not installed or has no such mode; nobody is left out in
silence.
"""

import functools
import importlib
import importlib.metadata
import itertools
import logging
import os
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks._measure import Contender, compiled

os.environ.setdefault("KERAS_BACKEND", "jax")

ALPHA = 1.0
KEYS = 16


class Case(NamedTuple):
    """What is to be done to which batch.

    Attributes:
      method: ``"mixup"`` or ``"cutmix"``.
      per: ``"batch"`` or ``"example"``: what has a lam, or a box, of its own.
      dtype: ``"float32"`` or ``"bfloat16"``; ``"uint8"`` is cast to bfloat16 and scaled
        by 1/255 within the timed function, then mixed.
      shape: of the images, ``[B, H, W, C]``; PyTorch gets the same as ``[B, C, H, W]``.
      classes: of the labels, which are mixed too.
    """

    method: str
    per: str
    dtype: str
    shape: tuple[int, int, int, int]
    classes: int = 10


class NotMeasured(Exception):
    """Says why a peer has no row."""


Builder = Callable[[Case], Contender]


def on_jax(mix: Callable[..., Any], case: Case) -> Contender:
    """Return ``mix(key, images, labels)``, compiled ahead, with changing keys."""
    program = compiled(float_first(mix, case), *abstract(case))
    _, x, y = arrays(case)
    keys = itertools.cycle(jax.random.split(jax.random.key(0), KEYS))
    return Contender(lambda: program(next(keys), x, y), program=program)


def float_first(mix: Callable[..., Any], case: Case) -> Callable[..., Any]:
    """Return ``mix`` of scaled bfloat16 images, if they come as bytes."""
    if case.dtype != "uint8":
        return mix
    return lambda key, x, y: mix(key, scaled(x), y)


def scaled(x: jax.Array) -> jax.Array:
    """Return bytes as bfloat16 in [0, 1]."""
    return x.astype(jnp.bfloat16) * jnp.bfloat16(1 / 255)


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


# JAX: the version that people paste.


def naive(case: Case) -> Contender:
    """A random permutation and `jax.random.beta`."""
    shape = {"batch": (), "example": case.shape[:1]}[case.per]
    mix = {"mixup": naive_mixup, "cutmix": naive_cutmix}[case.method]
    return on_jax(lambda key, x, y: mix(key, x, y, shape), case)


def naive_mixup(key, x, y, shape=()):
    """Mix as in most code on the web: ``shape`` is that of lam, () or (B,)."""
    key_lam, key_perm = jax.random.split(key)
    lam = jax.random.beta(key_lam, ALPHA, ALPHA, shape)
    perm = jax.random.permutation(key_perm, x.shape[0])
    lx = lam.reshape((-1,) + (1,) * (x.ndim - 1)).astype(x.dtype)
    ly = lam.reshape(-1, 1)
    return lx * x + (1 - lx) * x[perm], ly * y + (1 - ly) * y[perm]


def naive_cutmix(key, x, y, shape=()):
    """Paste boxes as in most code on the web."""
    keys = jax.random.split(key, 4)
    lam = jax.random.beta(keys[0], ALPHA, ALPHA, shape).reshape(-1, 1, 1, 1)
    perm = jax.random.permutation(keys[1], x.shape[0])
    inside = True
    area = 1
    for axis, key_axis in ((1, keys[2]), (2, keys[3])):
        n = x.shape[axis]
        half = (jnp.sqrt(1 - lam) * n / 2).astype(jnp.int32)
        centre = jax.random.randint(key_axis, lam.shape, 0, n)
        start, stop = jnp.clip(centre - half, 0, n), jnp.clip(centre + half, 0, n)
        at = jnp.arange(n).reshape([-1 if k == axis else 1 for k in range(4)])
        inside = inside & (start <= at) & (at < stop)
        area = area * (stop - start) / n
    lam = (1 - area).reshape(-1, 1)
    return jnp.where(inside, x[perm], x), lam * y + (1 - lam) * y[perm]


def big_vision(case: Case) -> Contender:
    """The formula of big_vision's `get_mixup`: everything rolled by one, one lam."""
    if case.method != "mixup":
        raise NotMeasured("has no CutMix")
    if case.per != "batch":
        raise NotMeasured("has one lam for all")
    return on_jax(rolled_mixup, case)


def rolled_mixup(key, x, y):
    """Mix with the one before, one lam of at least a half."""
    a = jax.random.beta(key, ALPHA, ALPHA)
    a = jnp.maximum(a, 1 - a)
    return jax.tree.map(
        lambda t: (a * t + (1 - a) * jnp.roll(t, shift=1, axis=0)).astype(t.dtype),
        (x, y),
    )


# Keras 3 on JAX.


def keras(case: Case) -> Contender:
    """The layers, called as they are."""
    layer, x, y = _keras(case)
    prepare = jax.jit(scaled) if case.dtype == "uint8" else lambda x: x

    def run():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it asks JAX for 64-bit integers
            return layer({"images": prepare(x), "labels": y})

    return Contender(run)


def keras_jit(case: Case) -> Contender:
    """The layers within `jax.jit`, their random state handed in and out."""
    layer, x, y = _keras(case)
    k = _module("keras", "keras")
    seed = layer.generator.state

    def call(state, x, y):
        with k.StatelessScope(state_mapping=[(seed, state)]) as scope:
            mixed = layer({"images": x, "labels": y})
        return scope.get_current_value(seed), mixed

    function = call
    if case.dtype == "uint8":
        function = lambda state, x, y: call(state, scaled(x), y)  # noqa: E731
    states = [jnp.asarray(seed.value)]
    program = compiled(function, states[0], x, y)

    def run():
        states[0], mixed = program(states[0], x, y)
        return mixed

    return Contender(run, program=program)


def _keras(case: Case) -> Any:
    k = _module("keras", "keras")
    if k.backend.backend() != "jax":
        raise NotMeasured("runs on another backend; set KERAS_BACKEND=jax")
    if case.per != "example":
        raise NotMeasured("has one lam for each example")
    dtype = "float32" if case.dtype == "float32" else "bfloat16"
    layer = {
        "mixup": lambda: k.layers.MixUp(alpha=ALPHA, dtype=dtype, seed=0),
        "cutmix": lambda: k.layers.CutMix(factor=ALPHA, dtype=dtype, seed=0),
    }[case.method]()
    _, x, y = arrays(case)
    return layer, x, y


# PyTorch: on the GPU if JAX is, else on as many threads as JAX has cores.


def timm(case: Case) -> Contender:
    """timm's `Mixup`, in its modes `batch` and `elem`."""
    return _on_torch(_timm(case), case)


def timm_compiled(case: Case) -> Contender:
    """The same under `torch.compile`."""
    if case.per == "example":
        raise NotMeasured("unrolls its Python loop over the examples")
    return _on_torch(_timm(case), case, compile_it=True)


def _timm(case: Case) -> Callable[..., Any]:
    _load_torchvision()  # timm does so itself, but not around what stands in the way
    data = _module("timm.data.mixup", "timm")
    return data.Mixup(
        mixup_alpha=ALPHA if case.method == "mixup" else 0.0,
        cutmix_alpha=ALPHA if case.method == "cutmix" else 0.0,
        mode={"batch": "batch", "example": "elem"}[case.per],
        label_smoothing=0.0,
        num_classes=case.classes,
    )


def torchvision(case: Case) -> Contender:
    """torchvision's `v2.MixUp` and `v2.CutMix`."""
    return _on_torch(_torchvision(case), case)


def torchvision_compiled(case: Case) -> Contender:
    """The same under `torch.compile`."""
    return _on_torch(_torchvision(case), case, compile_it=True)


def _torchvision(case: Case) -> Callable[..., Any]:
    _load_torchvision()
    v2 = _module("torchvision.transforms.v2", "torchvision")
    if case.per != "batch":
        raise NotMeasured("has one lam for all")
    transform = {"mixup": v2.MixUp, "cutmix": v2.CutMix}[case.method]
    return transform(alpha=ALPHA, num_classes=case.classes)


def _load_torchvision() -> None:
    """Import torchvision, also where its wheel was built for another PyTorch.

    Its compiled operators then stay away, which its transforms do not need; what
    stands in the way is that shapes are registered for operators that nobody declared.
    """
    torch = _module("torch", "torch")
    try:
        _module("torchvision", "torchvision")
    except RuntimeError:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            if not hasattr(torch.ops.torchvision, name):
                schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
                library.define(name + schema)
        globals()["_kept"] = library  # its declarations end with the object
        _module("torchvision", "torchvision")


def kornia(case: Case) -> Contender:
    """kornia's `RandomMixUpV2` and `RandomCutMixV2`."""
    return _on_torch(_kornia(case), case)


def kornia_compiled(case: Case) -> Contender:
    """The same under `torch.compile`."""
    return _on_torch(_kornia(case), case, compile_it=True)


def _kornia(case: Case) -> Callable[..., Any]:
    augmentation = _module("kornia.augmentation", "kornia")
    options: dict[str, Any] = {
        "data_keys": ["input", "class"],
        "same_on_batch": case.per == "batch",
    }
    if case.method == "mixup":
        return augmentation.RandomMixUpV2(**options)
    return augmentation.RandomCutMixV2(use_correct_lambda=True, **options)


def _on_torch(mix: Callable[..., Any], case: Case, compile_it: bool = False):
    torch = _module("torch", "torch")
    place, wait = "cpu", lambda handle: handle
    if jax.default_backend() == "gpu":
        if not torch.cuda.is_available():
            raise NotMeasured("this PyTorch has no CUDA; pip install a build that has")
        place, wait = "cuda", lambda handle: torch.cuda.synchronize()
    else:
        torch.set_num_threads(os.cpu_count() or 1)
    torch.manual_seed(0)
    np.random.seed(0)
    dtype = torch.float32 if case.dtype == "float32" else torch.bfloat16
    size, height, width, channels = case.shape
    images = torch.randint(0, 256, (size, channels, height, width), dtype=torch.uint8)
    x = (images if case.dtype == "uint8" else images.to(dtype) / 255).to(place)
    labels = (torch.arange(size) % case.classes).to(place)

    def call(x, labels):
        return mix(x.to(dtype) * (1 / 255) if case.dtype == "uint8" else x, labels)

    function: Callable[..., Any] = call
    if compile_it:
        _fresh_compiler(case)
        function = torch.compile(call)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for _ in range(5):  # it settles on what changes from call to call
                    function(x, labels)
        except Exception as error:  # whatever a compiler of another project raises
            reason = str(error).strip().splitlines() or [""]
            raise NotMeasured(
                f"torch.compile fails: {type(error).__name__}: {reason[0][:120]}"
            ) from error
    return Contender(lambda: function(x, labels), wait)


@functools.lru_cache(maxsize=1)
def _fresh_compiler(case: Case) -> None:
    """Forget, once a case, what was compiled: it counts and searches all variants."""
    torch = _module("torch", "torch")
    torch.compiler.reset()
    torch._logging.set_logs(dynamo=logging.ERROR)


def _module(name: str, package: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise NotMeasured(f"not installed ({error}); pip install {package}") from error


def versions() -> dict[str, str]:
    """Return the version of every peer that is installed, and how PyTorch runs."""
    found = {}
    for name in ("keras", "torch", "timm", "torchvision", "kornia"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


SHIPPED: Mapping[str, Builder] = {
    "naive JAX": naive,
    "big_vision": big_vision,
    "Keras 3": keras,
    "Keras 3, jit": keras_jit,
    "timm": timm,
    "torchvision": torchvision,
    "kornia": kornia,
}
"""Peers as shipped: what ours is to be faster than."""

LIBRARIES = ("Keras 3", "timm", "torchvision", "kornia")
"""Those of them that are packages, and called as their documentation says."""

COMPILED: Mapping[str, Builder] = {
    "timm, compile": timm_compiled,
    "torchvision, compile": torchvision_compiled,
    "kornia, compile": kornia_compiled,
}
"""The same under `torch.compile`, reported beside."""
