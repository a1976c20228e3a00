"""Libraries on PyTorch, on the GPU if JAX uses one, otherwise one thread per core."""

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
    """Return timm's ``Mixup``, in its modes ``batch`` and ``elem``."""
    return _on_torch(_timm(case), case)


def timm_compiled(case: Case) -> Contender:
    """Return timm's ``Mixup`` under ``torch.compile``."""
    if case.per == "example":
        raise NotMeasured("the compiler unrolls its Python loop over the examples")
    return _on_torch(_timm(case), case, compile_it=True)


def _timm(case: Case) -> Callable[..., Any]:
    _load_torchvision()  # timm imports it too, but without the workaround
    data = module("timm.data.mixup", "timm")
    return data.Mixup(
        mixup_alpha=ALPHA if case.method == "mixup" else 0.0,
        cutmix_alpha=ALPHA if case.method == "cutmix" else 0.0,
        mode={"batch": "batch", "example": "elem"}[case.per],
        label_smoothing=0.0,
        num_classes=case.classes,
    )


def torchvision(case: Case) -> Contender:
    """Return torchvision's ``v2.MixUp`` or ``v2.CutMix``."""
    return _on_torch(_torchvision(case), case)


def torchvision_compiled(case: Case) -> Contender:
    """Return torchvision's transforms under ``torch.compile``."""
    return _on_torch(_torchvision(case), case, compile_it=True)


def _torchvision(case: Case) -> Callable[..., Any]:
    _load_torchvision()
    v2 = module("torchvision.transforms.v2", "torchvision")
    if case.per != "batch":
        raise NotMeasured("only has one lam per batch")
    transform = {"mixup": v2.MixUp, "cutmix": v2.CutMix}[case.method]
    return transform(alpha=ALPHA, num_classes=case.classes)


def _load_torchvision() -> None:
    """Import torchvision, even if its wheel was built for another PyTorch.

    Its compiled operators are then missing, but its transforms do not need them. The
    import only fails since it registers shape functions for undeclared operators.
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
        globals()["_kept"] = library  # its declarations live as long as the object
        module("torchvision", "torchvision")


def kornia(case: Case) -> Contender:
    """Return kornia's ``RandomMixUpV2`` or ``RandomCutMixV2``."""
    return _on_torch(_kornia(case), case)


def kornia_compiled(case: Case) -> Contender:
    """Return kornia's transforms under ``torch.compile``."""
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
            raise NotMeasured("this PyTorch has no CUDA; pip install a build with CUDA")
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
                for _ in range(5):  # until it stops recompiling for changed values
                    function(x, labels)
        except Exception as error:  # anything that a third-party compiler raises
            reason = str(error).strip().splitlines() or [""]
            raise NotMeasured(
                f"torch.compile fails: {type(error).__name__}: {reason[0][:120]}"
            ) from error
    return Contender(lambda: function(x, labels), wait)


@functools.lru_cache(maxsize=1)
def _fresh_compiler(case: Case) -> None:
    """Reset the compiler once per case: it counts and searches all variants."""
    torch = module("torch", "torch")
    torch.compiler.reset()
    torch._logging.set_logs(dynamo=logging.ERROR)
