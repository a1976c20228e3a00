"""What holds for every test: the device count, and JAX at its strictest.

Every pytest-xdist worker imports this file before any test module, so each one of them
has eight host devices.
"""

import importlib.metadata
import os

os.environ["JAX_PLATFORMS"] = "cpu"
# Compiling takes most of the time, and most of that is LLVM. The compiled programs that
# the tests look at are decided before LLVM sees them.
os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_backend_optimization_level=0",
        # Later releases refuse this flag.
        "--xla_cpu_use_fusion_emitters=false"
        if importlib.metadata.version("jax").startswith("0.10.")
        else "",
    ]
)

import hypothesis
import jax

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# Few examples, the same ones each time: every new shape is a program to compile.
hypothesis.settings.register_profile(
    "mixup_jax", deadline=None, derandomize=True, max_examples=25
)
hypothesis.settings.load_profile("mixup_jax")
