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

import collections

import hypothesis
import jax
import pytest

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# Few examples, the same ones each time: every new shape is a program to compile.
hypothesis.settings.register_profile(
    "mixup_jax", deadline=None, derandomize=True, max_examples=25
)
hypothesis.settings.load_profile("mixup_jax")

# Tests of many cases of one kind: one in so many runs by default, all of them with
# `-m "slow or not slow"`.
ONE_IN = {
    "test_a_draw_moves_with_its_parameters_and_keeps_its_place": 2,
    "test_a_known_ratio_in_a_range_has_no_loop": 2,
    "test_a_range_takes_little_memory": 2,
    "test_a_traced_label_that_no_class_has_is_worth_nan": 2,
    "test_a_uniform_of_0_has_a_gradient": 2,
    "test_beta_in_a_range": 6,
    "test_candidates_of_another_width_are_told_apart": 3,
    "test_classes_are_told_apart_whatever_their_width": 3,
    "test_distances_are_rounded_once": 9,
    "test_folded_in_a_range": 2,
    "test_each_device_and_each_step_drops_its_own": 2,
    "test_gradients_by_alpha_are_finite": 2,
    "test_no_float32_leaves_a_range": 2,
    "test_no_mixing_in_a_range_is_no_mixing": 4,
    "test_python_numbers_among_metrics_and_changes": 3,
    "test_the_gradient_of_a_mean_is_right": 2,
    "test_the_number_that_was_drawn_keeps_the_range": 2,
    "test_the_terms_of_ignored_labels_are_dropped": 3,
    "test_what_is_counted_has_no_gradient_and_what_is_drawn_has": 2,
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    met = collections.Counter()
    for item in items:
        name = getattr(item, "originalname", item.name)
        if met[name] % ONE_IN.get(name, 1):
            item.add_marker(pytest.mark.slow)
        met[name] += 1
