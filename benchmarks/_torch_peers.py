"""The peers on PyTorch: on the GPU if JAX is, else with a thread for each core."""

import functools
import logging
import os
import warnings
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from benchmarks._cases import ALPHA, Case, NotMeasured, module
from benchmarks._measure import Contender


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
    data = module("timm.data.mixup", "timm")
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
    v2 = module("torchvision.transforms.v2", "torchvision")
    if case.per != "batch":
        raise NotMeasured("has one lam for all")
    transform = {"mixup": v2.MixUp, "cutmix": v2.CutMix}[case.method]
    return transform(alpha=ALPHA, num_classes=case.classes)


def _load_torchvision() -> None:
    """Import torchvision, also where its wheel was built for another PyTorch.

    Its compiled operators then stay away, which its transforms do not need; what
    stands in the way is that shapes are registered for operators that nobody declared.
    """
    torch = module("torch", "torch")
    try:
        module("torchvision", "torchvision")
    except RuntimeError:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            if not hasattr(torch.ops.torchvision, name):
                schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
                library.define(name + schema)
        globals()["_kept"] = library  # its declarations end with the object
        module("torchvision", "torchvision")


def kornia(case: Case) -> Contender:
    """kornia's `RandomMixUpV2` and `RandomCutMixV2`."""
    return _on_torch(_kornia(case), case)


def kornia_compiled(case: Case) -> Contender:
    """The same under `torch.compile`."""
    return _on_torch(_kornia(case), case, compile_it=True)


def _kornia(case: Case) -> Callable[..., Any]:
    augmentation = module("kornia.augmentation", "kornia")
    options: dict[str, Any] = {
        "data_keys": ["input", "class"],
        "same_on_batch": case.per == "batch",
    }
    if case.method == "mixup":
        return augmentation.RandomMixUpV2(**options)
    return augmentation.RandomCutMixV2(use_correct_lambda=True, **options)


def _on_torch(mix: Callable[..., Any], case: Case, compile_it: bool = False):
    torch = module("torch", "torch")
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
    torch = module("torch", "torch")
    torch.compiler.reset()
    torch._logging.set_logs(dynamo=logging.ERROR)
