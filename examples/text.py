"""Compare ERM and Manifold Mixup on questions of varying length.

    python -m examples.text
    python -m examples.text --data-dir DIR    # the original files of TREC

Token ids cannot be blended, so hidden states are, in a randomly drawn layer: the
embeddings, or the output of the transformer block. The model also takes the union of
the masks there. Under the example's own mask, the partner's words beyond its end would
be hidden although the partner's label counts. Without a folder, questions are generated
by a grammar, and a fifth of the training labels are wrong.
"""

from collections import Counter
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

import command_line
import mixup_jax as mx
from examples import _seeds
from examples.datasets.questions import Questions, trec

BATCH, WIDTH, LONGEST = 64, 32, 20  # longer questions are truncated
NOUNS = {
    "place": "city river country island lake street desert valley harbour capital",
    "person": "king author singer doctor actress pilot painter queen rider senator",
    "time": "year month day century decade season hour week minute holiday",
}
entropy = mx.losses.termwise(optax.losses.softmax_cross_entropy_with_integer_labels)


class Classifier(nn.Module):
    words: int
    classes: int

    @nn.compact
    def __call__(self, tokens, mask, mix=None):
        place = self.param("place", nn.initializers.normal(0.1), (1, LONGEST, WIDTH))
        x = nn.Embed(self.words, WIDTH)(tokens) + place
        x, mask = mixed(x, mask, mix, layer=1)
        attend = nn.MultiHeadDotProductAttention(num_heads=4)
        x += attend(nn.LayerNorm()(x), mask=mask[:, None, None, :])
        x += nn.Dense(WIDTH)(nn.relu(nn.Dense(2 * WIDTH)(nn.LayerNorm()(x))))
        x, mask = mixed(x, mask, mix, layer=2)
        return nn.Dense(self.classes)(jnp.mean(x, axis=1, where=mask[..., None]))


def mixed(x, mask, mix, layer):
    """Return hidden states and their mask, mixed if this layer was drawn."""
    if mix is None:
        return x, mask
    here = mix.at(layer)
    x = jnp.where(mask[..., None], x, 0)  # padding is blended as well
    return here.inputs(x), here.union(mask)


def made() -> Questions:
    """Generate questions whose class is that of the noun that follows "what"."""
    draw = np.random.default_rng(0)
    nouns = [words.split() for words in NOUNS.values()]

    def phrases(most):
        starts = draw.choice(["of the", "near a", "with the"], draw.integers(most + 1))
        return [f"{start} {draw.choice(nouns[draw.integers(3)])}" for start in starts]

    labels = draw.integers(3, size=2600).astype(np.int32)
    asked = [f"what {draw.choice(nouns[label])}" for label in labels]
    texts = tuple(" ".join([*phrases(2), each, *phrases(4)]) for each in asked)
    wrong = (draw.random(1600) < 0.2) * draw.integers(1, 3, 1600)
    train = ((labels[:1600] + wrong) % 3).astype(np.int32)
    return Questions(texts[:1600], train, texts[1600:], labels[1600:], (*NOUNS,))


def padded(data: Questions) -> tuple[int, list[_seeds.Batch]]:
    """Return the vocabulary size, and both parts with padded token ids."""
    texts = data.train_texts, data.test_texts
    words = [[text.lower().split()[:LONGEST] for text in part] for part in texts]
    counts = Counter(word for each in words[0] for word in each)
    known = sorted(word for word in counts if counts[word] > 1)
    ids = {word: i for i, word in enumerate(known, start=2)}  # 0 padding, 1 unknown
    parts = []
    for part, labels in zip(words, (data.train_labels, data.test_labels)):
        rows = [[ids.get(word, 1) for word in each] for each in part]
        tokens = np.array([row + [0] * (LONGEST - len(row)) for row in rows])
        part = {"token": tokens, "mask": tokens > 0, "label": labels}
        parts.append(jax.tree.map(jnp.asarray, part))
    return len(ids) + 2, parts


def main(argv=None):
    args, data = _seeds.parsed(argv, "text", trec, made, epochs=12)
    words, (train, test) = padded(data)
    model: Any = Classifier(words, len(data.classes))

    def start(key):
        params = model.init(key, train["token"][:1], train["mask"][:1])
        return mx.training.TrainState.create(params, optax.adam(4e-3))

    def logits(params, batch, mix=None):
        return model.apply(params, batch["token"], batch["mask"], mix)

    def loss(params, batch, mix):
        return entropy(logits(params, batch, mix), batch["label"], mix).mean(), {}

    def epoch(mixer):
        # Both are returned unchanged, since the inputs are not among the layers.
        named = mx.on_keys(mixer, inputs="token", masks="mask")
        return _seeds.epoch_of(mx.training.train_step(loss, named), logits, BATCH)

    manifold = partial(mx.manifold, layers=(1, 2))
    arms = {"ERM": epoch(mx.erm), "Manifold Mixup": epoch(manifold)}
    _seeds.compare(start, arms, (train, test), args)


if __name__ == "__main__":
    command_line.start(main)
