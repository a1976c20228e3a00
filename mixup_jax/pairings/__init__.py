"""Pairings: which partner each example is mixed with.

A pairing is any callable ``(key, batch) -> Partners``. ``Partners`` describes a
movement of examples, which becomes a gather only where nothing cheaper will do. Unless
its docstring says otherwise, a pairing gives each example of a batch of two or more a
partner other than itself. Examples paired with themselves are not mixed: they get
``lam = 1``.

The pairings without randomness (``neighbour``, ``reverse``, ``roll``, ``nth``) rely on
a shuffled batch: then the pairs are random too, and cost nothing to draw.
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
