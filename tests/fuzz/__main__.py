"""Try many cases, and write the page that says what came of them."""

import argparse
from pathlib import Path

import hypothesis
import jax
import rich.console
import rich.progress

import command_line
import tests.conftest  # eight devices, and JAX at its strictest  # noqa: F401
from tests.fuzz.cases import cases
from tests.fuzz.drivers import SHARES
from tests.fuzz.report import Tally, page

PAGE = Path(__file__).parents[2] / "docs" / "fuzzed.md"
WRITE = 200  # cases, after which the page is written
CLEAR = 2_500  # cases, after which compiled programs are dropped


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=command_line.positive_int, default=20_000)
    parser.add_argument("--seed", type=command_line.seed, default=0)
    parser.add_argument("--out", type=Path, default=PAGE, help="the page")
    args = parser.parse_args()
    command_line.check_writable(parser, args.out)
    command = f"python -m tests.fuzz --cases {args.cases} --seed {args.seed}"
    tally, done = Tally(), 0
    drivers = [driver for driver, share in SHARES.items() for _ in range(share)]

    with rich.progress.Progress(
        "{task.description}",
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TimeElapsedColumn(),
        rich.progress.TimeRemainingColumn(),
        console=rich.console.Console(stderr=True),
    ) as bar:
        task = bar.add_task("fuzzing", total=args.cases)

        @hypothesis.seed(args.seed)
        @hypothesis.settings(
            max_examples=args.cases,
            derandomize=False,
            database=None,
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(cases(drivers))
        def attempt(case):
            nonlocal done
            tally.add(case)
            done += 1
            bar.update(task, advance=1, description=f"{len(tally.defects)} defects")
            if done % CLEAR == 0:
                jax.clear_caches()
            if done % WRITE == 0:
                args.out.write_text(page(tally, command))

        try:
            attempt()
        finally:
            args.out.write_text(page(tally, command))
    print(f"wrote {args.out}")
    if tally.defects:
        raise SystemExit(1)


if __name__ == "__main__":
    command_line.start(main)
