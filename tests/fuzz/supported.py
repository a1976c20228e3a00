"""What must not be refused: cells of method, dtype, driver and structure.

A case whose leaves are all in the table has to be mixed. Any other case is either mixed
by its law or refused with a proper error.
"""

from tests.fuzz.cases import COMPLEX, FLOATS, WHOLE, Case, Leaf
from tests.fuzz.drivers import DRIVERS
from tests.fuzz.law import parts
from tests.fuzz.rows import Row

BLENDED = (*FLOATS, *COMPLEX)

# The supported dtypes for each rule, by what a method does with its inputs.
DTYPES: dict[str, dict[str, tuple[str, ...]]] = {
    "pastes": {
        "plain": (*BLENDED, *WHOLE),
        "Maps": (*BLENDED, *WHOLE),
        "Masks": (*FLOATS, *WHOLE),
        "Lengths": (),
    },
    "blends": {
        "plain": BLENDED,
        "Maps": BLENDED,
        "Masks": (*FLOATS, *WHOLE),
        "Lengths": WHOLE[:-1],
    },
    "adds noise": {
        "plain": FLOATS,
        "Maps": (*BLENDED, *WHOLE),
        "Masks": (*FLOATS, *WHOLE),
        "Lengths": WHOLE[:-1],
    },
}
EVERY_DRIVER = frozenset(DRIVERS)


def kind(row: Row) -> str:
    if row.floats:
        return "adds noise"
    return "pastes" if row.holes and row.pastes else "blends"


def supported(case: Case) -> bool:
    """Return whether the case is in the table."""
    row = case.method
    plain = [leaf for rule, leaf in parts(case.inputs) if rule == "plain"]
    first = max(plain, key=lambda leaf: len(leaf.shape))
    return (
        case.driver in EVERY_DRIVER
        and case.flaw == "nothing"
        and _many(case)
        and (not row.cuts or row.fits(case.size * 2, first.shape))
        and all(_in(case, first, *each) for each in parts(case.inputs))
        and _targets(case, first)
    )


def _many(case: Case) -> bool:
    """Return whether examples form pairs, for methods that draw once for each pair."""
    whole = any(word in case.driver for word in ("whole_batch", "mesh"))
    return not case.method.method.even or whole or case.size % 2 == 0


def _in(case: Case, first: Leaf, rule: str, leaf: Leaf) -> bool:
    """Return whether a leaf of the inputs is in the table."""
    row = case.method
    dtypes = DTYPES[kind(row)][rule]
    if kind(row) == "blends" and row.pastes and rule == "plain":  # erm
        dtypes = (*BLENDED, *WHOLE)
    if leaf.dtype not in dtypes:
        return False
    if rule == "Lengths":
        return not row.holes
    if not row.cuts:
        return True
    return leaf.shape in (first.shape, first.shape[:-1])


def _targets(case: Case, first: Leaf) -> bool:
    row, found = case.method, list(parts(case.targets))
    if row.classes:
        one = isinstance(case.targets, Leaf) and case.targets.classes
        return one and case.targets.dtype in FLOATS
    if row.keeps_labels:
        return True
    places = (first.shape, first.shape[:-1])
    return all(
        (rule == "plain" and leaf.dtype in BLENDED and len(leaf.shape) < 2)
        or (
            rule == "Maps"
            and leaf.dtype in DTYPES[kind(row)]["Maps"]
            and (not row.cuts or leaf.shape in places)
        )
        for rule, leaf in found
    )
