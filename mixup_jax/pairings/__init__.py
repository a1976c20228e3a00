"""With whom: pairings draw the partner of every example.

A pairing is any callable `(key, batch) -> Partners`. What it returns is a description
of a movement; it becomes a gather only where it has to. Where the batch has two or
more, nobody is its own partner, unless the docstring says so. An example that is its
own partner is not mixed: its `lam` is 1.

The pairings without randomness (`neighbour`, `reverse`, `roll`) rely on a loader that
shuffles: pairs are then random, and cost nothing to draw.
"""

from mixup_jax.pairings._affinities import Affinity as Affinity
from mixup_jax.pairings._affinities import label_kernel as label_kernel
from mixup_jax.pairings._affinities import nearest as nearest
from mixup_jax.pairings._affinities import of_same_class as of_same_class
from mixup_jax.pairings._classes import other_class as other_class
from mixup_jax.pairings._classes import same_class as same_class
from mixup_jax.pairings._fixed import given as given
from mixup_jax.pairings._fixed import neighbour as neighbour
from mixup_jax.pairings._fixed import nth as nth
from mixup_jax.pairings._fixed import reverse as reverse
from mixup_jax.pairings._fixed import roll as roll
from mixup_jax.pairings._random import derangement as derangement
from mixup_jax.pairings._random import permutation as permutation
from mixup_jax.pairings._weighted import weighted as weighted
