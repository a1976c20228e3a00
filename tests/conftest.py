"""Configuration shared by every test: eight devices, and JAX at its strictest.

Every pytest-xdist worker imports this file before any test module, so each of them has
eight host devices.
"""

import importlib.metadata
import os

os.environ["JAX_PLATFORMS"] = "cpu"
# Compilation dominates the run time, and LLVM dominates compilation. The properties of
# compiled programs that the tests check are fixed before LLVM runs.
os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_backend_optimization_level=0",
        # The programs are small, so splitting one to compile its parts separately is
        # slower. Later releases reject the other flag.
        "--xla_cpu_parallel_codegen_split_count=1 --xla_cpu_use_fusion_emitters=false"
        if int(importlib.metadata.version("jax").split(".")[1]) <= 10
        else "",
    ]
)

import collections
import gc
from typing import Any, cast

import hypothesis
import jax
import jax.experimental
import pytest

from mixup_jax._core import versions

# The tests use the newest JAX's names; the oldest supported release has others.
for _name, _home in {"set_mesh": versions, "enable_x64": jax.experimental}.items():
    if not hasattr(jax, _name):
        setattr(jax, _name, getattr(_home, _name))

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# A run keeps millions of objects alive, so frequent garbage collections are wasted.
gc.set_threshold(100_000, 20, 20)

# Use few examples, the same in every run: each new shape is a program to compile.
hypothesis.settings.register_profile(
    "mixup_jax", deadline=None, derandomize=True, max_examples=15
)
# Used by ``python -m tests.fuzz``, and by pytest with ``--hypothesis-profile long``.
hypothesis.settings.register_profile(
    "long",
    deadline=None,
    derandomize=False,
    database=None,
    max_examples=20_000,
    phases=[hypothesis.Phase.generate],
    suppress_health_check=list(cast(Any, hypothesis.HealthCheck)),
)
hypothesis.settings.load_profile("mixup_jax")

# Tests with many similar cases: by default one case in this many runs, and all of them
# with ``-m "slow or not slow"``.
ONE_IN = {
    "test_a_batch_of_one_comes_back_unchanged": 24,
    "test_a_batch_on_a_mesh_is_mixed_as_on_one_device": 4,
    "test_a_batch_over_more_axes_than_named_costs_no_more": 2,
    "test_a_branch_between_mixed_and_unmixed": 6,
    "test_a_buffer_twice_in_a_state_and_one_that_is_gone": 4,
    "test_a_choice_of_the_whole_batch_is_that_of_one_device": 6,
    "test_a_concrete_label_that_no_class_has_is_refused": 4,
    "test_a_draw_moves_with_its_parameters_and_keeps_its_place": 8,
    "test_a_field_is_drawn_where_its_example_is": 4,
    "test_a_fresh_process_computes_the_same": 9,
    "test_a_known_ratio_in_a_range_has_no_loop": 4,
    "test_a_label_of_weight_0_may_be_no_class": 4,
    "test_a_loss_that_returns_something_else": 6,
    "test_a_mesh_changes_nothing": 14,
    "test_a_mix_passes_through_transformations": 6,
    "test_a_mix_refuses_a_symbolic_number_of_examples": 4,
    "test_a_move_with_places_may_read_partners": 2,
    "test_a_peer_that_is_not_installed_is_named_with_what_to_install": 5,
    "test_a_program_around_a_run_costs_no_more": 2,
    "test_a_range_takes_little_memory": 8,
    "test_a_real_set_without_its_last_character_is_refused": 6,
    "test_a_resumed_run_goes_on_as_if_it_had_not_stopped": 6,
    "test_a_run_is_part_of_a_program": 3,
    "test_a_sharded_step_has_no_further_collective": 4,
    "test_a_state_comes_back_laid_out_as_it_went_in": 4,
    "test_a_step_that_the_user_folds_in_is_no_device": 3,
    "test_a_traced_alpha_is_the_same_and_zero_or_less_is_erm": 4,
    "test_a_traced_label_that_no_class_has_is_worth_nan": 4,
    "test_a_weight_that_is_not_a_number_makes_a_class_of_its_own": 4,
    "test_all_with_a_partner_have_the_draw_of_the_first": 6,
    "test_an_example_is_mixed_as_its_own_mixer_would": 6,
    "test_an_ignored_label_reaches_no_gradient": 4,
    "test_any_batch_size": 24,
    "test_asymmetric_beta": 6,
    "test_at_most_one_batch_of_temporary_memory": 4,
    "test_auto_and_explicit_meshes_of_any_size_agree": 4,
    "test_batch_statistics_and_a_dropout_key_have_a_place": 4,
    "test_batches_of_any_size": 6,
    "test_before_it_is_the_mixer_and_afterwards_nothing": 4,
    "test_beta": 8,
    "test_beta_in_a_range": 24,
    "test_bfloat16_is_not_widened_in_memory": 4,
    "test_boxes_equal_a_simulation": 4,
    "test_bytes_grow_with_what_grows": 4,
    "test_candidates_of_another_width_are_told_apart": 12,
    "test_cast_within_is_cast_before": 3,
    "test_chosen_it_still_takes_integer_labels": 4,
    "test_classes_are_told_apart_whatever_their_width": 27,
    "test_devices_are_averaged_as_one_would": 6,
    "test_distances_are_rounded_once": 108,
    "test_each_device_and_each_step_drops_its_own": 4,
    "test_each_device_has_what_the_mixer_returned_for_the_whole_batch": 8,
    "test_each_example_covers_and_shows_what_its_mixer_does": 5,
    "test_each_example_is_what_its_mixer_makes_of_it": 32,
    "test_each_partner_is_equally_likely": 4,
    "test_each_permutation_is_equally_likely": 4,
    "test_eager_on_an_explicit_mesh": 6,
    "test_ece_is_the_sum_over_bins": 4,
    "test_equals_the_formula_in_every_dtype": 3,
    "test_every_driver_computes_what_one_device_would": 6,
    "test_every_driver_mixes_as_one_device_would": 6,
    "test_every_driver_stops_at_the_step": 4,
    "test_every_transform_is_measured_and_judged": 4,
    "test_examples_that_are_not_finite_are_left_alone": 18,
    "test_exports_for_every_platform": 4,
    "test_float64_keeps_its_digits": 8,
    "test_folded_in_a_range": 4,
    "test_gradients_by_alpha_are_finite": 16,
    "test_gradients_equal_finite_differences": 4,
    "test_gradients_through_alpha_are_finite": 4,
    "test_halves_of_different_kinds_are_compared": 4,
    "test_ids_of_few_bits_stand_for_one_class_each": 4,
    "test_ids_pasted_are_the_one_hot_maps_pasted": 4,
    "test_ignored_labels_on_a_mesh": 4,
    "test_integer_labels_on_an_explicit_mesh": 4,
    "test_integer_labels_stay_where_no_mixer_mixes_them": 4,
    "test_jit_on_eight_devices_with_two_examples_each": 4,
    "test_jit_on_eight_explicit_devices_with_three_examples_each": 6,
    "test_jit_on_fewer_devices": 9,
    "test_jit_where_the_batch_axis_is_not_divided": 5,
    "test_key_and_batch_go_by_place_or_by_keyword": 6,
    "test_keys_and_counts_are_state_too": 8,
    "test_label_maps_are_mixed_place_by_place": 6,
    "test_labels_of_any_width_give_float32": 4,
    "test_labels_that_are_added_up_cannot_be_ignored": 4,
    "test_lam_is_distributed_as_that_of_an_example": 6,
    "test_logits_that_are_none_predict_no_class": 4,
    "test_losses_of_ids_are_those_of_one_hot_maps": 4,
    "test_low_precision": 4,
    "test_maps_have_channels_of_their_own_or_none": 4,
    "test_masks_hold_what_is_seen": 6,
    "test_methods_that_paste_take_integer_images_as_they_are": 6,
    "test_micro_batches_of_one_example": 6,
    "test_mixers_of_a_choice_read_prefixes_of_one_call": 4,
    "test_moments": 6,
    "test_names_and_devices_go_around_each_other": 4,
    "test_neighbours_are_those_of_a_search": 4,
    "test_neighbours_of_whole_numbers_far_from_0": 4,
    "test_nested_choices_of_it_multiply": 4,
    "test_no_draw_depends_on_its_block": 4,
    "test_no_float32_leaves_a_range": 8,
    "test_no_loop": 4,
    "test_no_loop_as_lowered_for_a_tpu": 4,
    "test_the_mesh_need_not_be_in_the_context": 3,
    "test_numbers_alone_are_mixed_on_any_mesh": 20,
    "test_of_two_ignored_labels_none_reaches_a_gradient": 4,
    "test_on_a_mesh": 4,
    "test_on_a_mesh_as_on_one_device": 6,
    "test_on_a_mesh_that_divides_the_rows_of_an_image": 2,
    "test_one_choice_and_one_draw_hold_for_the_batch": 6,
    "test_one_mix_says_what_was_mixed": 6,
    "test_one_program_serves_twins": 6,
    "test_one_source_compiles_to_what_it_was": 4,
    "test_one_trace_for_each_shape": 4,
    "test_one_trace_in_a_train_step": 4,
    "test_other_libraries_make_the_same_of_the_draw": 6,
    "test_partners_are_moved_in_any_dtype": 4,
    "test_pixels_are_pasted_with_their_labels": 4,
    "test_pmapped_makes_a_state_whole": 2,
    "test_pmapped_over_several_axes": 4,
    "test_python_numbers_among_metrics_and_changes": 6,
    "test_rows_of_scores_are_those_of_all": 4,
    "test_shares_of_devices_follow_as_the_whole": 4,
    "test_slopes_go_back_where_rows_came_from": 3,
    "test_statistics_and_parameters_are_those_of_a_loop_by_hand": 7,
    "test_steps_devices_and_micro_batches_have_keys_of_their_own": 6,
    "test_symbolic_channels_pass": 6,
    "test_symbolic_sizes_pass_where_every_position_is_alike": 6,
    "test_the_axes_may_be_named_in_the_region": 4,
    "test_the_decay_may_have_any_dtype": 4,
    "test_the_equation": 6,
    "test_the_field_has_the_power_of_its_frequencies": 4,
    "test_the_law_holds_on_each_device": 4,
    "test_the_mean_divides_by_the_weight_that_is_left": 6,
    "test_the_named_axes_are_cut_and_no_others": 5,
    "test_the_number_that_was_drawn_keeps_the_range": 4,
    "test_the_partner_covers_the_share_of_the_labels": 6,
    "test_the_real_sets_have_the_documented_counts": 6,
    "test_the_state_is_donated": 4,
    "test_the_terms_of_ignored_labels_are_dropped": 12,
    "test_the_train_step_mixes_within_classes": 4,
    "test_the_whole_batch_is_mixed_as_on_one_device": 6,
    "test_the_whole_batch_on_any_number_of_devices": 9,
    "test_the_whole_partner_is_in_the_box": 6,
    "test_traced_and_compiled": 12,
    "test_training_on_any_number_of_devices": 4,
    "test_two_terms_are_the_loss_on_mixed_targets": 4,
    "test_types_of_axes_are_no_other_place": 2,
    "test_values_are_those_of_one_device_and_nothing_is_sent": 2,
    "test_what_is_counted_has_no_gradient_and_what_is_drawn_has": 4,
    "test_what_was_made_outside_is_mixed_within_and_only_there": 3,
    "test_without_partners_nothing_changes": 6,
    "test_x64_draws_the_same": 5,
}

# By default each kind of method runs one half of these tests or the other. Tests in the
# same half share the reference they compare with.
EVERY_SECOND = {
    "test_jit_and_checkpoint": 0,
    "test_vmap_in_a_scan": 0,
    "test_pmap": 0,
    "test_shard_map": 0,
    "test_jitted_and_in_shares_and_on_an_explicit_mesh": 1,
    "test_jit_on_eight_devices_with_three_examples_each": 1,
    "test_jit_on_a_mesh_of_two_axes": 1,
}


# Files of few tests that take long: begun last, one worker would wait for the other.
BEGUN_FIRST = (
    "test_processes.py",
    "test_tpu.py",
    "test_benchmarks.py",
    "test_types.py",
    "test_without_flax.py",
    "test_examples.py",
    "test_resizemix.py",
    "test_words.py",
    "test_ratios.py",
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    from tests.methods import KINDS, METHODS

    met = collections.Counter()
    for item in items:
        given = getattr(getattr(item, "callspec", None), "params", {})
        row = given.get("name", given.get("case"))
        # Only parameters that name rows of the table; some share a function's name.
        of_table = hasattr(getattr(item, "module", None), "METHODS")
        is_slow = of_table and row in METHODS and row not in KINDS
        if not is_slow:
            name = getattr(item, "originalname", item.name)
            if name in EVERY_SECOND:
                is_slow = met[name] % 2 != EVERY_SECOND[name]
            else:
                is_slow = met[name] % ONE_IN.get(name, 1) > 0
            met[name] += 1
        if is_slow:
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: item.path.name not in BEGUN_FIRST)
