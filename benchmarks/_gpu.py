"""GPUs to compile for: those described in ``targets``, and any that is present."""

import importlib.metadata
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies

import mixup_jax as mx
from benchmarks._sharded import AXIS, big_vision, pasted, step_of, with_mesh
from benchmarks.models import CNN, KEY, Model

TARGETS = tuple(
    sorted(file.stem for file in Path(__file__).parent.glob("targets/*.txtpb"))
)
Mixing = Callable[..., Any]


def copied(key: jax.Array, batch: Any) -> Any:
    """Write a new copy of the batch: the least that any mixing costs."""
    return jax.tree.map(lambda x: x + 1, batch), None


_mixup = partial(mx.mixup, alpha=0.2)
MIXERS: dict[str, Mixing] = {
    "no mixing": mx.erm,
    "copy": copied,
    "mixup": _mixup,
    "cutmix": mx.cutmix,
    "mixup or cutmix": mx.choose([_mixup, mx.cutmix], [0.5, 0.5]),
    "resizemix": mx.resizemix,
    "saliencymix": mx.saliencymix,
    "smoothmix": mx.smoothmix,
    "gaussian": partial(mx.gaussian, sigma=0.1),
    "extrapolate": mx.extrapolate,
    "dirichlet of three": partial(mx.dirichlet, partners=3),
    "fmix": mx.fmix,
    "big_vision": big_vision,
    "pasted": pasted,
}


class Alone(NamedTuple):
    """The transform alone, on images ``[B, H, W, C]`` and one-hot labels."""

    shape: tuple[int, int, int, int]
    dtype: Any
    classes: int


Work = Alone | Model
BATCHES = {
    "32x32, float32": Alone((256, 32, 32, 3), jnp.float32, 10),
    "224x224, bfloat16": Alone((128, 224, 224, 3), jnp.bfloat16, 1000),
}
STEPS = {"CNN's step, 224x224": Model(CNN, (224, 224, 3), 1000, 64)}
OF_ONE_CHANNEL = {"16000x1, float32": Alone((256, 16000, 1, 1), jnp.float32, 10)}
WORK: dict[str, Work] = {**BATCHES, **STEPS, **OF_ONE_CHANNEL}


def why_not() -> str:
    """Return why compiling for a GPU is impossible here, or "" if it is possible."""
    jaxlib = importlib.metadata.version("jaxlib")
    parts = [f"jax-cuda{n}-{part}" for n in (13, 12) for part in ("plugin", "pjrt")]
    found = {part: _version(part) for part in parts if _version(part)}
    if not found:
        return (
            "JAX's plugin for CUDA is not installed. It requires Linux, but no GPU: "
            "pip install '.[gpu]'."
        )
    for part, version in found.items():
        if _release(version) != _release(jaxlib):
            return (
                f"expected {part} to match the version of jaxlib, {jaxlib}; got "
                f"{version}. Install both together: pip install -U '.[gpu]'."
            )
    return ""


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _release(version: str) -> list[str]:
    """Return the three numbers that the packages of a release share."""
    return re.findall(r"\d+", version)[:3]


def absent(target: str) -> jax.sharding.Mesh:
    """Return a mesh of one GPU of ``TARGETS``, which need not be present."""
    text = (Path(__file__).parent / "targets" / f"{target}.txtpb").read_text()
    described = topologies.get_topology_desc(
        platform="cuda", target_config=text, topology="1x1x1"
    )
    return mesh_of(described.devices[0])


def mesh_of(device: Any) -> jax.sharding.Mesh:
    """Return a mesh of one device."""
    auto = (jax.sharding.AxisType.Auto,)
    return jax.sharding.Mesh(np.array([device]), (AXIS,), axis_types=auto)


def compiled(work: Work, mixer: Mixing, mesh: jax.sharding.Mesh) -> Any:
    """Compile the transform or train step for the device of a mesh."""
    if isinstance(work, Model):
        step, given = step_of(work, mixer, mesh)
        return with_mesh(step, mesh, given).compile()
    here = jax.NamedSharding(mesh, jax.P())

    def like(shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=here)

    size = work.shape[0]
    arguments = (
        like(KEY.shape, KEY.dtype),
        like(work.shape, work.dtype),
        like((size, work.classes), jnp.float32),
        like(work.shape[:-1], jnp.float32),
    )

    def mixed(key, x, y, saliency) -> Any:
        own = mixer
        if mixer is mx.saliencymix:
            own = partial(mx.saliencymix, saliency=saliency)
        return own(key, (x, y))[0]

    return jax.jit(mixed).lower(*arguments).compile()


def numbers(work: Work) -> tuple[int, int]:
    """Return the number of elements and of bytes in a batch's images."""
    shape, dtype = (
        ((work.batch, *work.image), jnp.bfloat16)
        if isinstance(work, Model)
        else (work.shape, work.dtype)
    )
    size = int(np.prod(shape))
    return size, size * jnp.dtype(dtype).itemsize
