"""The claims: what intervals, verdicts and unfitted networks say."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from benchmarks.claims._engine import analysis, statistics
from benchmarks.claims._engine.claim import (
    ERM,
    LONGER,
    Chosen,
    Claim,
    Fit,
    Protocol,
    Published,
    Statement,
    less,
    more,
)
from benchmarks.claims._engine.statistics import (
    Blocks,
    Estimate,
    Independent,
    Interval,
    Splits,
    verdict,
)

VALUES = pd.Series([1.0, 2.0, 4.0, 8.0], index=range(4))


def p_of(values: Any) -> float:
    found: Any = stats.ttest_1samp(values, 0)
    return float(found.pvalue)


def test_an_interval_of_independent_draws_is_students():
    got = Independent().estimate(VALUES)
    want = stats.t.interval(0.95, 3, VALUES.mean(), stats.sem(VALUES))
    np.testing.assert_allclose(got.interval()[1:], want)
    np.testing.assert_allclose(got.p, p_of(VALUES))
    np.testing.assert_allclose(got.spread, VALUES.std())


def test_an_interval_of_splits_is_corrected_for_their_overlap():
    got = Splits(test_to_train=0.5).estimate(VALUES)
    # Nadeau and Bengio 2003, equation 9.
    error = math.sqrt((1 / 4 + 0.5) * float(np.var(VALUES, ddof=1)))
    want = stats.t.interval(0.95, 3, VALUES.mean(), error)
    np.testing.assert_allclose(got.interval()[1:], want)
    assert got.error > Independent().estimate(VALUES).error


def test_more_splits_of_one_set_do_not_make_the_interval_vanish():
    values = pd.Series(np.random.default_rng(0).normal(size=10_000))
    got = Splits(0.5).estimate(values)
    np.testing.assert_allclose(got.error, math.sqrt(0.5), rtol=0.05)


def test_the_runs_of_a_block_are_one_value():
    values = pd.Series([1.0, 10.0, 3.0, 30.0], index=[0, 1, 2, 3])
    got = Blocks(2, "speakers").estimate(values)
    want = Independent().estimate(pd.Series([2.0, 20.0]))
    assert got == want


def test_a_block_is_told_by_the_seed_and_not_by_the_place():
    values = pd.Series([10.0, 3.0, 30.0, 1.0], index=[1001, 1002, 1003, 1000])
    got = Blocks(2, "speakers").estimate(values)
    assert got == Independent().estimate(pd.Series([2.0, 20.0]))


def test_one_value_says_nothing_of_its_error():
    got = Independent().estimate(pd.Series([3.0]))
    assert got.interval() == (3.0, -math.inf, math.inf)
    assert got.p == 1
    with pytest.raises(ValueError, match="at least one value"):
        Independent().estimate(pd.Series([], dtype=float))


@pytest.mark.parametrize("seed", range(20))
def test_an_interval_of_holm_excludes_0_exactly_where_holm_rejects(seed):
    rng = np.random.default_rng(seed)
    values = rng.normal(rng.choice([0, 0.8, 2], size=(7, 1)), 1, size=(7, 6))
    found = [Independent().estimate(pd.Series(each)) for each in values]
    levels = statistics.holm(found)
    ps = [p_of(each) for each in values]
    rejected, order = set(), np.argsort(ps)
    for rank, k in enumerate(order):  # Holm 1979, step by step
        if ps[k] > 0.05 / (7 - rank):
            break
        rejected.add(int(k))
    outside = {
        k
        for k, (each, level) in enumerate(zip(found, levels))
        if not each.interval(level).low <= 0 <= each.interval(level).high
    }
    assert outside == rejected
    for k, level in enumerate(levels):
        larger = sum(p >= ps[k] for p in ps)
        if k not in rejected:  # as strict as the step at which Holm stopped, or after
            assert level >= 1 - 0.05 / larger - 1e-12


def test_one_statement_needs_no_correction_and_none_has_no_level():
    np.testing.assert_allclose(
        statistics.holm([Independent().estimate(VALUES)]), [0.95]
    )
    assert statistics.holm([]) == []


def test_a_p_value_that_underflows_still_has_a_level():
    sure = Estimate(1.0, 0.0, 5, 0.0)
    levels = statistics.holm([sure, Independent().estimate(VALUES)])
    assert all(0.95 - 1e-12 <= level < 1 for level in levels)


@pytest.mark.parametrize(
    ("low", "high", "published", "said"),
    [
        (0.1, 0.3, 0.2, "holds"),
        (0.3, 0.5, 0.2, "holds"),
        (0.1, 0.3, 0.4, "holds, but smaller"),
        (-0.1, 0.3, 0.4, "no effect"),
        (-0.1, 0.3, 0.2, "cannot tell"),
        (-0.3, -0.1, 0.2, "opposite"),
        (0.1, 0.3, None, "holds"),
        (-0.1, 0.3, None, "cannot tell"),
        (-0.3, -0.1, None, "opposite"),
        # The publication reports no difference.
        (-0.9, 0.9, 0.0, "holds"),
        (0.1, 0.9, 0.0, "holds"),
        (-0.9, 1.1, 0.0, "cannot tell"),
        (-3.0, 3.0, 0.0, "cannot tell"),
        (0.1, 1.1, 0.0, "opposite"),
        (-2.0, -0.1, 0.0, "opposite"),
    ],
)
def test_the_verdict_is_what_the_interval_allows(low, high, published, said):
    assert verdict(Interval((low + high) / 2, low, high), published) == said


def test_a_published_error_above_one_point_widens_a_tie():
    wide = Interval(0.0, -1.5, 1.5)
    assert verdict(wide, 0.0) == "cannot tell"
    assert verdict(wide, 0.0, published_error=2.0) == "holds"


@pytest.mark.parametrize(
    ("mean", "half", "said"),
    [
        (-3.6802, 3.6712, "-3.68 ± 3.67"),
        (1234.5, 567.8, "1234 ± 568"),
        (0.00735, 0.00087, "0.007350 ± 0.000870"),
        (2.0, 0.0, "2"),
        (3.14159, math.inf, "3.142"),
    ],
)
def test_an_interval_shows_on_which_side_of_0_it_ends(mean, half, said):
    assert str(Interval(mean, mean - half, mean + half)) == said


def test_an_interval_that_is_not_symmetric_shows_both_ends():
    assert str(Interval(3.82, -2.29, 5.2)) == "3.82 [-2.29, 5.20]"


def table(**arms: Any) -> pd.DataFrame:
    """Return the tidy table of measures given as ``arm={measure: values}``."""
    rows = []
    for arm, measures in arms.items():
        count = len(next(iter(measures.values())))
        for seed in range(count):
            row = {name: each[seed] for name, each in measures.items()}
            rows.append(
                {"arm": arm.replace("_", " "), "factor": "", "seed": seed} | row
            )
    return pd.DataFrame(rows)


def claim(*statements: Statement, **how: Any) -> Claim:
    protocol = Protocol("data", "network", "recipe", {ERM: {}}, seeds=4)
    how = {"measures": {"error": "error"}, "fit": None, **how}
    return Claim(
        "It helps.", "A source.", protocol, lambda options: (), statements, **how
    )


FITTED = {"train": [1.0] * 4, "constant": [90.0] * 4}
FOUND = table(
    ERM={"error": [10.0, 11.0, 12.0, 13.0], **FITTED},
    Mixup={"error": [8.0, 9.1, 9.9, 11.0], **FITTED},
)


def test_a_contrast_is_paired_over_seeds():
    made = claim(less("less", "Mixup", ERM, primary=True))
    (got,) = analysis.judge(made, FOUND)
    want = Independent().estimate(pd.Series([2.0, 1.9, 2.1, 2.0]))
    np.testing.assert_allclose(got.gain, want)
    shuffled = FOUND.sample(frac=1, random_state=0)
    np.testing.assert_allclose(analysis.judge(made, shuffled)[0].gain, want)


def test_more_of_a_measure_is_the_other_way_round():
    made = claim(more("more", "Mixup", ERM, primary=True), less("less", "Mixup", ERM))
    more_, less_ = analysis.judge(made, FOUND)
    assert more_.gain.mean == -less_.gain.mean
    assert more_.verdict == "opposite"


def test_the_primary_interval_is_95_percent_and_the_others_are_holms():
    said = [
        less("first", "Mixup", ERM, primary=True),
        less("second", "Mixup", ERM),
        less("third", "Mixup", ERM),
    ]
    first, second, _ = analysis.judge(claim(*said), FOUND)
    assert first.interval == first.gain.interval(0.95)
    np.testing.assert_allclose(second.interval, second.gain.interval(0.975))


@pytest.mark.parametrize("primary", [(), (True, True)])
def test_a_claim_has_one_primary_statement(primary):
    with pytest.raises(ValueError, match="one primary statement"):
        claim(*(less("x", "Mixup", ERM, primary=each) for each in primary))


def test_a_published_gain_is_not_negative():
    with pytest.raises(ValueError, match="the other way round"):
        less("x", "Mixup", ERM, published=Published(-1.0))


def test_seeds_that_one_arm_lacks_are_refused():
    made = claim(less("less", "Mixup", ERM, primary=True))
    with pytest.raises(ValueError, match=r"same seeds.*\[3\]"):
        analysis.judge(made, FOUND.iloc[:-1])


def test_an_arm_is_chosen_by_its_validation_and_never_by_its_test_error():
    found = table(
        ERM={"error": [10.0, 10.0], "validation": [9.0, 9.0]},
        Mixup_1={"error": [1.0, 5.0], "validation": [8.0, 4.0]},
        Mixup_2={"error": [7.0, 2.0], "validation": [3.0, 6.0]},
    )
    chosen = Chosen("Mixup, alpha by validation", ("Mixup 1", "Mixup 2"))
    made = claim(less("less", chosen.name, ERM, primary=True), chosen=(chosen,))
    got = analysis.values(analysis.with_chosen(made, found), "error", chosen.name, "")
    assert got.tolist() == [7.0, 5.0]


def fitted(train, constant=90.0, error=None, longer=None) -> str:
    """Return why a statement about 4 seeds is not tested."""
    made = claim(less("less", "Mixup", ERM, primary=True), fit=Fit())
    erm = {"train": [train] * 4, "constant": [constant] * 4}
    arms = {"ERM": {"error": error or [10.0, 11.0, 12.0, 13.0], **erm}}
    arms["Mixup"] = {"error": [8.0, 9.1, 9.9, 11.0], **erm}
    if longer is not None:
        arms[LONGER] = {"error": [longer] * 4, **erm}
    (got,) = analysis.judge(made, table(**arms))
    assert (got.verdict == "not a test") == bool(got.why)
    return got.why


def test_networks_that_do_not_fit_their_data_get_no_verdict():
    assert not fitted(5.0)
    assert "training error of 5.1% is above 5%" in fitted(5.1)


def test_where_classes_overlap_longer_training_has_to_change_nothing():
    # The half width is 0.13; ERM's mean error is 11.5.
    assert not fitted(40.0, longer=11.45)
    assert "twice as long changes its test error by 0.5" in fitted(40.0, longer=11.0)


@pytest.mark.parametrize("train", [3.0, 3.5])
def test_a_small_training_error_that_a_constant_has_as_well_is_not_fitted(train):
    said = fitted(train, constant=train + 2)
    assert "not more than 2 points below that of a constant prediction" in said
    assert not fitted(train, constant=train + 2.1)


def test_a_factor_without_its_baseline_is_no_test():
    made = claim(
        less("less", "Mixup", "Mixup 2", primary=True), fit=Fit(baselines=(ERM,))
    )
    found = table(Mixup={"error": [1.0, 2.0]}, Mixup_2={"error": [3.0, 4.5]})
    (got,) = analysis.judge(made, found)
    assert (got.verdict, got.why) == ("not a test", "none of ERM was trained")


@pytest.mark.parametrize(
    ("favors", "published", "gain", "side"),
    [
        (1, None, 2.0, "helps"),
        (1, None, -2.0, "hurts"),
        (-1, None, 2.0, "hurts"),
        (-1, None, -2.0, "helps"),
        (0, None, 2.0, ""),
        (1, 4.0, 0.0, "nothing"),
        (-1, 4.0, 0.0, "nothing"),
        (1, None, 0.0, ""),  # cannot tell
        (1, 0.0, 0.0, "nothing"),  # a tie that holds
        (1, 0.0, 2.0, "helps"),
        (1, 0.0, -2.0, "hurts"),
    ],
)
def test_what_a_verdict_says_of_mixing(favors, published, gain, side):
    how: Any = {"favors": favors, "primary": True}
    if published is not None:
        how["published"] = Published(published)
    off = np.array([0.1, -0.1, 0.05, -0.05])
    found = table(ERM={"error": list(10 + off)}, Mixup={"error": list(10 - gain - off)})
    (got,) = analysis.judge(claim(less("x", "Mixup", ERM, **how)), found)
    assert analysis.side(got) == side


def test_other_seeds_that_disagree_leave_it_open():
    made = claim(less("less", "Mixup", ERM, primary=True))
    other = FOUND.assign(error=[10.0, 11, 12, 13, 9.0, 12, 11, 14])
    (got,) = analysis.judge(made, FOUND, other)
    assert got.verdict == "cannot tell"
    assert "holds; with other seeds: cannot tell" in got.why
    unfit = FOUND.assign(train=60.0)
    tested = claim(less("less", "Mixup", ERM, primary=True), fit=Fit())
    (got,) = analysis.judge(tested, FOUND, unfit)
    assert got.verdict == "not a test"
    assert "training error of 60% is above 5%" in got.why
    (same,) = analysis.judge(made, FOUND, FOUND)
    assert (same.verdict, same.why) == ("holds", "")


def test_z_has_the_errors_of_both():
    ours = Estimate(10.0, 0.3, 8, 0.9)
    # Three published runs that spread as ours do.
    want = 1.0 / math.hypot(0.3, 0.9 / math.sqrt(3))
    np.testing.assert_allclose(analysis.z(ours, Published(9.0, runs=3)), want)
    got = analysis.z(ours, Published(9.0, error=0.4))
    np.testing.assert_allclose(got, 1.0 / 0.5)


def test_a_statement_about_arms_that_were_not_run_is_left_out():
    made = claim(less("less", "Mixup", ERM, primary=True), less("other", "CutMix", ERM))
    assert [each.statement.words for each in analysis.judge(made, FOUND)] == ["less"]
