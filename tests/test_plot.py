"""`mx.plot` shows what a mix makes of a batch; its command line, of a user's files."""

import importlib
import inspect
import pickle
import pkgutil
import subprocess
import sys
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

import mixup_jax as mx
from mixup_jax.plot import __main__ as program
from mixup_jax.plot import _figure, _files, _labels

KEY = jax.random.key(3)
B, SIZES = 4, (8, 6)
DRAW = np.random.default_rng(0)
IMAGES = DRAW.uniform(size=(B, *SIZES, 3)).astype(np.float32)
SOFT = np.eye(B, dtype=np.float32)
NAMES = ["cat", "dog", "owl", "fox"]


LAM = jnp.array([0.75, 0.25, 0.75, 0.25])
PARTNER = jnp.array([1, 0, 3, 2])
BLEND = mx.Mix.from_pairs(LAM, PARTNER)


def pasted(x, axes=None):
    """Return the mix that pastes a quarter of each partner, along the first axis."""
    grid = mx.regions.grid(x, spatial=axes)
    stop = np.array([[grid.sizes[0] // 4, *grid.sizes[1:]]] * B, np.int32)
    box = mx.regions.Box(jnp.zeros(stop.shape, jnp.int32), jnp.asarray(stop), grid)
    return mx.Mix.from_pairs(0.75, PARTNER, region=box)


def panels(figure, n):
    """Return the axes of a figure without its color bars, a list for each row."""
    plain = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
    assert len(plain) % n == 0
    return [plain[i : i + n] for i in range(0, len(plain), n)]


def shown(line):
    """Return the pixels, or the heights of the curves, on each of these axes."""
    return np.stack(
        [
            np.asarray(axes.images[0].get_array())
            if axes.images
            else np.stack([each.get_ydata() for each in axes.lines], axis=-1)
            for axes in line
        ]
    )


def titles(line):
    return [axes.get_title() for axes in line]


def names(rows):
    return [line[0].get_ylabel() for line in rows]


def bars(figure):
    return [axes for axes in figure.axes if axes.get_label() == "<colorbar>"]


def check_fits(figure):
    """Raise if a title, a label or a legend overlaps another or leaves the figure."""
    figure.draw_without_rendering()
    texts = [axes.title for axes in figure.axes if axes.get_title()]
    texts += [axes.yaxis.label for axes in figure.axes if axes.get_ylabel()]
    boxes = [text.get_window_extent() for text in texts]
    boxes += [each.get_window_extent() for each in figure.legends]
    for k, box in enumerate(boxes):
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= figure.bbox.x1 + 1
        assert box.y1 <= figure.bbox.y1 + 1
        assert not any(box.overlaps(other) for other in boxes[:k])


# What is shown is what the mix makes.


def test_a_pasted_image_its_partner_its_weights_and_its_labels():
    mix = pasted(IMAGES)
    figure = mx.plot((IMAGES, SOFT), mix, examples=3, classes=NAMES)
    assert isinstance(figure, Figure)
    rows = own, partner, mixed, weights = panels(figure, 3)
    assert names(rows) == ["own", "partner", "mixed", "own weight"]
    np.testing.assert_array_equal(shown(own), IMAGES[:3])
    np.testing.assert_array_equal(shown(partner), mix.partners(IMAGES)[:3])
    np.testing.assert_array_equal(shown(mixed), mix.inputs(IMAGES)[:3])
    np.testing.assert_array_equal(shown(weights), mix.coverage(SIZES)[:3])
    # The weights and the two contents are the mixture.
    w = shown(weights)[..., None]
    np.testing.assert_array_equal(
        shown(mixed), w * shown(own) + (1 - w) * shown(partner)
    )
    assert titles(own) == ["#0: cat", "#1: dog", "#2: owl"]
    assert titles(partner) == ["#1: dog", "#0: cat", "#3: fox"]
    assert titles(mixed)[0] == "lam = 0.75\n0.75 cat + 0.25 dog"
    assert titles(weights)[0] == "mean 0.75"
    assert [bar.get_ylabel() for bar in bars(figure)] == ["weight"]
    assert all(axes.images[0].get_clim() == (0, 1) for axes in weights)
    check_fits(figure)


def test_the_examples_are_those_that_are_named():
    own, *_ = panels(mx.plot((IMAGES, None), BLEND, examples=[3, 1]), 2)
    np.testing.assert_array_equal(shown(own), IMAGES[[3, 1]])
    assert titles(own) == ["#3", "#1"]
    assert len(panels(mx.plot((IMAGES, None), BLEND, examples=99), B)) == 4


def test_several_sources_have_a_row_for_each_partner_and_each_weight():
    second = mx.Source(jnp.array([2, 3, 0, 1]), jnp.full(B, 0.75))
    mix = mx.Mix(LAM, (*BLEND.sources, second)).drawn()
    figure = mx.plot((IMAGES, np.arange(B)), mix, classes=NAMES, examples=2)
    own, first, last, mixed, *weights = panels(figure, 2)
    np.testing.assert_array_equal(shown(mixed), mix.inputs(IMAGES)[:2])
    shares = [np.asarray(share)[:2] for share, _ in mix.terms(np.arange(B))]
    assert len(weights) == len(shares) == 3
    for line, share in zip(weights, shares):
        want = np.broadcast_to(share[:, None, None], (2, *SIZES))
        np.testing.assert_allclose(shown(line), want, rtol=1e-6)
    np.testing.assert_array_equal(shown(last), IMAGES[[2, 3]])
    assert (titles(own)[0], titles(first)[0], titles(last)[0]) == (
        "#0: cat",
        "#1: dog",
        "#2: owl",
    )
    assert titles(mixed)[0] == "lam = 0.75\n0.75 cat +\n0.19 dog +\n0.06 owl"
    assert names([first, last]) == ["partner 1", "partner 2"]
    assert names(weights)[1:] == ["weight of\npartner 1", "weight of\npartner 2"]
    check_fits(figure)


def test_several_mixes_stand_below_one_another():
    paste, other = pasted(IMAGES), mx.Mix.from_pairs(LAM, np.array([2, 3, 0, 1]))
    mixes = {"mixup": BLEND, "cutmix": paste, "other": other}
    rows = panels(mx.plot((IMAGES, SOFT), mixes, examples=2), 2)
    assert names(rows)[:4] == ["own", "partner", "mixup", "cutmix"]
    assert names(rows)[4:] == ["partner", "other"]
    np.testing.assert_array_equal(shown(rows[3]), paste.inputs(IMAGES)[:2])


# Kinds.


def test_bytes_are_drawn_from_0_to_255_whatever_they_are():
    gray = (100 + DRAW.integers(50, size=(B, *SIZES))).astype(np.uint8)
    figure = mx.plot((gray, None), BLEND, examples=2)
    own, _, mixed, _ = panels(figure, 2)
    np.testing.assert_array_equal(shown(own), gray[:2])
    want = BLEND.inputs(gray.astype(np.float32))[:2]
    np.testing.assert_array_equal(shown(mixed), want)
    assert own[0].images[0].get_clim() == mixed[1].images[0].get_clim() == (0, 255)
    assert len(bars(figure)) == 2
    colors = DRAW.integers(255, size=IMAGES.shape).astype(np.uint8)
    own, *_ = panels(mx.plot((colors, None), BLEND, examples=1), 1)
    np.testing.assert_allclose(shown(own), colors[:1] / 255, rtol=1e-6)


def test_colors_outside_of_0_to_1_are_scaled_and_the_figure_says_from_what():
    normalized = (IMAGES - 0.5) / 0.25
    figure = mx.plot((normalized, None), BLEND)
    mixed = panels(figure, B)[2]
    low, high = normalized.min(), normalized.max()
    want = (np.asarray(BLEND.inputs(normalized)) - low) / (high - low)
    np.testing.assert_allclose(shown(mixed), want, atol=1e-6)
    assert figure.get_suptitle() == f"colors are scaled from [{low:.3g}, {high:.3g}]"
    assert not mx.plot((IMAGES, None), BLEND, examples=1).get_suptitle()


def test_values_that_are_not_finite_are_counted():
    x = IMAGES.copy()
    x[0, 0, 0, :2] = np.nan, np.inf
    figure = mx.plot((x, None), pasted(x), examples=1)  # own and mixed
    n = np.sum(~np.isfinite(x[0])) + np.sum(~np.isfinite(pasted(x).inputs(x)[0]))
    assert n >= 2
    assert figure.get_suptitle() == f"{n} values are not finite"


@pytest.mark.parametrize(
    "shape", [(B, 40), pytest.param((B, 40, 2), marks=pytest.mark.slow)]
)
def test_recordings_are_curves(shape):
    x = DRAW.normal(size=shape).astype(np.float32)
    mix = pasted(x, (1,))
    figure = mx.plot((x, None), mix, examples=2)
    own, _, mixed, weights = panels(figure, 2)
    channels = shape[2:] or (1,)
    np.testing.assert_array_equal(shown(own), x[:2].reshape(2, 40, *channels))
    np.testing.assert_array_equal(
        shown(mixed), np.reshape(mix.inputs(x)[:2], (2, 40, *channels))
    )
    np.testing.assert_array_equal(shown(weights)[..., 0], mix.coverage((40,))[:2])
    low, high = own[0].get_ylim()
    assert (low, high) == mixed[1].get_ylim()
    assert low < min(x[:2].min(), shown(mixed).min())
    assert high > max(x[:2].max(), shown(mixed).max())
    assert weights[0].get_ylim() == (-0.05, 1.05)
    assert not bars(figure)
    # Ticks have labels at the left and below.
    figure.draw_without_rendering()
    assert own[0].yaxis.get_ticklabels()[0].get_visible()
    assert weights[1].xaxis.get_major_ticks()[0].label1.get_visible()
    assert not mixed[1].xaxis.get_major_ticks()[0].label1.get_visible()


@pytest.mark.parametrize("axes", [(2,), pytest.param((1, 2), marks=pytest.mark.slow)])
def test_spectrograms_are_drawn_by_a_function(axes):
    x = DRAW.normal(size=(B, 8, 12)).astype(np.float32)
    mix = pasted(x, axes)
    show = partial(Axes.imshow, origin="lower", aspect="auto")
    figure = mx.plot((x, None), mix, show=show, examples=2)
    own, _, mixed, weights = panels(figure, 2)
    np.testing.assert_array_equal(shown(mixed), mix.inputs(x)[:2])
    assert weights[0].images[0].origin == "lower"
    cover = np.asarray(mix.coverage([x.shape[k] for k in axes]))[:2]
    sizes = [x.shape[k] if k in axes else 1 for k in (1, 2)]
    want = np.broadcast_to(cover.reshape(2, *sizes), (2, 8, 12))
    np.testing.assert_array_equal(shown(weights), want)
    assert {axes.images[0].get_clim() for axes in weights} == {(0, 1)}
    every = x[:2]  # which are each other's partners
    assert {axes.images[0].get_clim() for axes in (*own, *mixed)} == {
        (every.min(), every.max())
    }
    assert len(bars(figure)) == 2


def test_channels_first_images_are_drawn_by_a_function_or_refused():
    x = IMAGES.transpose(0, 3, 1, 2)
    mix = pasted(x, (2, 3))
    with pytest.raises(ValueError, match=r"show=lambda .*x\.transpose\(1, 2, 0\)"):
        mx.plot((x, None), mix)

    def show(axes, example):
        axes.imshow(example.transpose(1, 2, 0))

    _, _, mixed, weights = panels(mx.plot((x, None), mix, show=show), B)
    np.testing.assert_array_equal(
        shown(mixed), np.asarray(mix.inputs(x)).transpose(0, 2, 3, 1)
    )
    np.testing.assert_array_equal(shown(weights), mix.coverage(SIZES))
    assert weights[0].images[0].get_clim() == (0, 1)


def test_label_maps_stand_beside_with_a_legend():
    ids = np.array([0, 2, 7, 255])[DRAW.integers(4, size=(B, *SIZES))].astype(np.int32)
    mix = pasted(IMAGES)
    targets = {"label": SOFT, "map": mx.follow.maps(ids)}
    names_of_ids = [str(k) for k in range(256)]
    with pytest.raises(ValueError, match="one for each class"):
        mx.plot((IMAGES, targets), mix, classes=names_of_ids)
    figure = mx.plot((IMAGES, targets), mix, examples=2)
    rows = panels(figure, 4)
    known = np.unique(ids)
    for line, want in zip(rows, (ids, mix.partners(ids), mix.inputs(ids))):
        np.testing.assert_array_equal(known[shown(line[1::2])], want[:2])
        assert titles(line)[1] == "map"
    assert not rows[3][1].axison
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        f"class {k}" for k in known
    ]
    check_fits(figure)
    # Ids without a name, such as the one that losses ignore, are shown as numbers.
    batch = IMAGES, mx.follow.maps(ids)
    (legend,) = mx.plot(batch, mix, examples=2, classes=NAMES[:3]).legends
    said = [text.get_text() for text in legend.get_texts()]
    assert said == ["cat", "owl", "class 7", "class 255"]
    # Of blended ids the class of the larger share is shown.
    figure = mx.plot((IMAGES, mx.follow.maps(ids)), BLEND, examples=2)
    mixed = panels(figure, 4)[2]
    np.testing.assert_array_equal(known[shown(mixed[1::2])], [ids[0], ids[0]])


def test_maps_of_weights_show_the_heaviest_class_and_of_numbers_the_number():
    hot = np.eye(3, dtype=np.float32)[DRAW.integers(3, size=(B, *SIZES))]
    mix = pasted(IMAGES)
    batch = IMAGES, mx.follow.maps(hot)
    figure = mx.plot(batch, mix, examples=2, classes=NAMES)
    mixed = panels(figure, 4)[2]
    want = np.asarray(mix.inputs(hot)).argmax(-1)[:2]
    np.testing.assert_array_equal(shown(mixed[1::2]), want)
    assert [t.get_text() for t in figure.legends[0].get_texts()] == NAMES[:3]
    depth = hot[..., 0] * 5
    figure = mx.plot((IMAGES, mx.follow.maps(depth)), mix, examples=2)
    mixed = panels(figure, 4)[2]
    np.testing.assert_array_equal(shown(mixed[1::2]), mix.inputs(depth)[:2])
    assert len(bars(figure)) == 2


# Mixes that leave something as it is.


def test_an_unmixed_batch_and_a_hidden_layer():
    _, mix = mx.erm(KEY, (IMAGES, None))
    rows = panels(mx.plot((IMAGES, SOFT), mix, examples=2), 2)
    own, partner, mixed, weights = rows
    np.testing.assert_array_equal(shown(own), shown(mixed))
    assert titles(partner) == ["itself"] * 2
    assert titles(mixed)[1] == "lam = 1.00\nclass 1"
    assert (shown(weights) == 1).all()
    mix = mx.draw_of(partial(mx.manifold, layers=(1,)))(KEY, (IMAGES, None))
    rows = panels(mx.plot((IMAGES, SOFT), mix, examples=2), 2)
    own, _, mixed, weights = rows
    np.testing.assert_array_equal(shown(own), shown(mixed))
    assert (shown(weights) == 1).all()
    assert f"{mix.lam[0]:.2f} class 0" in titles(mixed)[0]
    assert 0 < mix.lam[0] < 1


def test_weights_above_1_are_on_the_scale():
    away = mx.Source(PARTNER, jnp.full(B, 1.5))
    mix = mx.Mix(jnp.ones(B), (away,), mixes_targets=False)
    figure = mx.plot((IMAGES, None), mix, examples=2)
    weights = panels(figure, 2)[3]
    assert (shown(weights) == 1.5).all()
    assert weights[0].images[0].get_clim() == (0, 1.5)
    assert "scaled" in figure.get_suptitle()


def test_whatever_else_is_in_the_inputs_is_left_out():
    mask = mx.follow.masks(np.ones((B, *SIZES), bool))
    inputs = {"x": IMAGES.astype(jnp.bfloat16), "mask": mask, "age": np.ones(B)}
    mixed = panels(mx.plot((inputs, None), BLEND, examples=2), 2)[2]
    np.testing.assert_array_equal(shown(mixed), BLEND.inputs(inputs["x"])[:2])


# Labels.


@pytest.mark.parametrize(
    ("label", "said"),
    [
        (np.array([1, -1]), ["dog", "class -1"]),
        (np.array([[0], [3]]), ["cat", "fox"]),
        (np.array([True, False]), ["dog", "cat"]),
        (np.array([0.25, 1e6]), ["0.25", "1e+06"]),
        (np.array([[0.5], [2.0]], np.float32), ["0.5", "2"]),
        (np.array([[1, 0, 0, 1]] * 2), ["1.00 cat + 1.00 fox"] * 2),
        (np.array([[-63.7, -27.0, -4.1]] * 2), ["[-63.7, -27, -4.1]"] * 2),
        (np.array([[0, 0], [0.5, 2]]), ["[0, 0]", "[0.5, 2]"]),
        (np.array([[np.nan, 0, 2, 3]] * 2), ["[nan, 0, 2, ...]"] * 2),
        (np.zeros((2, 4)), ["no class"] * 2),
        (np.array([[0.98, 0.01, 0.01, 0]] * 2), ["0.98 cat + ..."] * 2),
        (np.full((2, 4), 0.25), ["0.25 cat +\n0.25 dog +\n0.25 owl + ..."] * 2),
    ],
)
def test_labels_in_words(label, said):
    assert _labels.words(_labels.checked(label), [0, 1], NAMES) == said


def test_shares_of_one_class_add_up():
    said = _labels.mixed_words(BLEND, np.array([0, 0, 1, 2]), [0, 3], NAMES)
    assert said == ["cat", "0.75 dog + 0.25 owl"]


def test_mixed_numbers_in_0_to_1_are_no_weights():
    numbers = np.array([[-1.0, 1.0], [3.0, 1.0]] * 2, np.float32)
    assert _labels.mixed_words(BLEND, numbers, [0], ["x", "y"]) == ["[0, 1]"]


def test_long_names_are_shortened():
    assert len(_labels.name_of(0, ["an extraordinarily long name"])) == 18


@pytest.mark.parametrize("x", [IMAGES, IMAGES[..., 0, 0]])
def test_dollars_in_names_are_not_formulas(x):
    dollars = ["a_b$", "$x_$", r"$\foo$", r"\$"]
    maps = mx.follow.maps(DRAW.integers(B, size=x.shape[:3]).astype(np.int32))
    targets = {"label": np.arange(B), "map": maps}
    mixes = {"$x_$": BLEND}
    figure = mx.plot((x, targets), mixes, classes=dollars)
    figure.draw_without_rendering()  # raises if it reads a formula
    own, *_ = panels(figure, 2 * B)
    assert titles(own)[::2] == [f"#{k}: {name}" for k, name in enumerate(dollars)]


# Refusals.


def refused(batch: Any, mix: Any, error: type[Exception] = ValueError, **options: Any):
    with pytest.raises(error) as caught:
        mx.plot(batch, mix, **options)
    return str(caught.value)


def test_what_cannot_be_drawn_is_refused_in_words():
    mix = BLEND
    assert "expected a Mix" in refused((IMAGES, None), (IMAGES, mix), TypeError)
    assert "got none" in refused((IMAGES, None), {})
    assert 'batch["image"]' in refused({"image": IMAGES}, mix)
    assert "(inputs, targets)" in refused(IMAGES, mix)
    assert "one array" in refused(((IMAGES, IMAGES), None), mix)
    assert "got none" in refused((np.zeros(B), None), mix)
    assert "with 1, 3 or 4" in refused((np.zeros((B, 8, 8, 2)), None), mix)
    assert "axes.plot(x.T)" in refused((np.zeros((B, 2, 8)), None), mix)
    assert "jax.numpy.abs" in refused((IMAGES * 1j, None), mix, TypeError)
    assert "real labels" in refused((IMAGES, np.ones(B) * 1j), mix, TypeError)
    assert "follow.maps" in refused((IMAGES, np.ones((B, 2, 2))), mix)
    assert "labels and one of maps" in refused((IMAGES, (SOFT, SOFT)), mix)
    assert "axis 0" in refused((IMAGES[:2], None), mix)
    assert "expected 4 names" in refused((IMAGES, SOFT), mix, classes=["a"])
    ids = np.arange(B)
    assert "labels of class 3" in refused((IMAGES, ids), mix, classes=["a"])
    assert "from 0 to 3" in refused((IMAGES, None), mix, examples=[4])
    assert "at least 1" in refused((IMAGES, None), mix, examples=0)
    assert "a function" in refused((IMAGES, None), mix, TypeError, show="image")


@pytest.mark.parametrize(
    "examples",
    [True, "3", [0.5], [True, False], np.ones(B, bool), 1.5, None, slice(2), [[0, 1]]],
)
def test_examples_are_integers(examples):
    said = refused((IMAGES, None), BLEND, TypeError, examples=examples)
    assert said.startswith("plot: examples: expected an integer or a sequence of int")


@pytest.mark.parametrize("examples", [jnp.int32(2), np.array(2), jnp.arange(2), (0, 1)])
def test_integers_of_any_kind_are_examples(examples):
    assert _figure._rows(examples, B) == [0, 1]


@pytest.mark.parametrize("classes", [4, "abcd", dict.fromkeys(NAMES), [1, 2, 3, 4]])
def test_classes_are_names(classes):
    said = refused((IMAGES, SOFT), BLEND, TypeError, classes=classes)
    assert said.startswith("plot: classes: expected a sequence of strings")


@pytest.mark.parametrize("shape", [(B, 0), (B, 0, 6, 3), (B, 8, 6, 0)])
def test_empty_examples_are_refused(shape):
    assert "float32[4, " in refused((np.zeros(shape, np.float32), None), BLEND)


def test_traced_values_are_refused_in_words():
    @jax.jit
    def step(images):
        mx.plot((images, None), BLEND)

    with pytest.raises(ValueError, match="concrete values; got traced"):
        step(IMAGES)


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'mixup-jax\[plot\]'"):
        mx.plot((IMAGES, None), BLEND)


# The function stays the function.


def test_importing_the_package_of_its_name_leaves_the_function():
    assert inspect.isfunction(mx.plot)
    package = importlib.import_module("mixup_jax.plot")
    for each in pkgutil.walk_packages(package.__path__, "mixup_jax.plot."):
        importlib.import_module(each.name)
    assert inspect.isfunction(mx.plot)
    assert pickle.loads(pickle.dumps(mx.plot)) is mx.plot


# The command line.


@pytest.fixture
def pictures(tmp_path):
    """Return three files: in color, gray and of another size, with transparency."""
    files = [tmp_path / name for name in ("cat.png", "dog.jpg", "owl.png")]
    Image.fromarray(DRAW.integers(255, size=(24, 32, 3)).astype(np.uint8)).save(
        files[0]
    )
    Image.fromarray(np.full((50, 40), 90, np.uint8)).save(files[1])
    Image.fromarray(np.full((24, 32, 4), 200, np.uint8)).save(files[2])
    return files


def run(*arguments):
    """Run the command line in this process."""
    program.main([str(argument) for argument in arguments])


def test_pictures_are_mixed_and_written(pictures, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    figures = []

    def plot(*args, **kwargs):
        figures.append(_figure.plot(*args, **kwargs))
        return figures[-1]

    monkeypatch.setattr(mx, "plot", plot)
    run("mixup", *pictures, "--alpha", 2, "--examples", 2)
    note, path = capsys.readouterr().out.splitlines()
    assert note == "resized and cropped to 32 x 24 pixels: dog.jpg"
    assert path == "mixup.png"
    with Image.open(path) as picture:
        assert np.asarray(picture).std() > 10
    own, partner, *_ = panels(figures[0], 2)
    assert titles(own) == ["#0: cat", "#1: dog"]
    assert titles(partner) == ["#1: dog", "#2: owl"]
    np.testing.assert_array_equal(shown(own), _files.read(pictures).inputs[:2])


def test_pictures_are_read_as_they_look(pictures, tmp_path, monkeypatch):
    found = _files.read(pictures)
    assert found.inputs.shape == (3, 24, 32, 3)
    assert found.names == ["cat", "dog", "owl"]
    np.testing.assert_array_equal(
        found.inputs[0], np.asarray(Image.open(pictures[0]), np.float32) / 255
    )
    np.testing.assert_allclose(found.inputs[1], 90 / 255, atol=0.01)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1500)  # more are a warning
    assert _files.read(pictures).inputs.shape == (3, 24, 32, 3)
    monkeypatch.undo()
    large = tmp_path / "large.png"
    Image.fromarray(np.zeros((100, 2000, 3), np.uint8)).save(large)
    assert _files.read([large, pictures[0]]).inputs.shape == (2, 26, 512, 3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "mixer", "options"),
    [
        ((4, 8, 6, 3), "resizemix", ()),
        ((4, 20), "cutmix", ()),
        ((4, 8, 12), "cutmix", ("--spectrogram",)),
        ((4, 8, 12, 1), "mixup", ("--spectrogram",)),
    ],
)
def test_arrays_are_mixed_and_written(shape, mixer, options, tmp_path, capsys):
    batch, out = tmp_path / "x.npy", tmp_path / "out.png"
    np.save(batch, DRAW.integers(255, size=shape).astype(np.uint8))
    run(mixer, batch, "--examples", 1, "--out", out, *options)
    assert capsys.readouterr().out == f"{out}\n"
    assert out.stat().st_size > 1000


def test_arrays_of_one_example_each(tmp_path):
    files = [tmp_path / "a.npy", tmp_path / "b.npy"]
    for k, file in enumerate(files):
        np.save(file, np.full(9, k))
    found = _files.read(files)
    np.testing.assert_array_equal(found.inputs, np.repeat([[0], [1]], 9, axis=1))
    np.save(files[0], np.ones((2, 3), np.float16))
    assert _files.read(files[:1]).inputs.dtype == np.float16
    assert found.names == ["a", "b"]


def test_every_mixer_that_needs_no_option_is_offered():
    assert set(program._mixers()) == {
        "cutmix", "dirichlet", "erm", "extrapolate", "fmix", "mixup", "resizemix",
        "smoothmix",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("cutmixx", "a.npy"), "invalid choice: 'cutmixx' (choose from"),
        (("gaussian", "a.npy"), "invalid choice"),
        (("mixup",), "the following arguments are required: FILE"),
        (("mixup", "none.png"), "expected a file; got a path that does not exist"),
        (("mixup", "."), "expected a file; got a folder"),
        (("mixup", "broken.png", "broken.png"), "broken.png: expected an image; got a"),
        (("mixup", "broken.npy"), "broken.npy: expected a .npy file; got a"),
        (("mixup", "words.npy"), "floating-point array of at most 64 bits; got <U"),
        (("mixup", "text.npy"), "text.npy: expected a .npy file; got another format"),
        (("mixup", "objects.npy"), "(it contains Python objects, not numbers)"),
        (("mixup", "a.npz"), "a.npz: expected a .npy file; got an archive"),
        pytest.param(
            ("mixup", "long.npy"),
            "long.npy: expected an integer or floating-point",
            marks=pytest.mark.skipif(
                np.dtype(np.longdouble).itemsize == 8,
                reason="64 bits on this platform",
            ),
        ),
        (("mixup", "large.npy"), "large.npy: expected values from -1e+37 to 1e+37"),
        (("mixup", "a.npy", "--out", "folder.png"), "--out: expected a file; got a"),
        (("mixup", "a.npy", "--out", "gone.png"), "--out: could not write gone.png"),
        (("mixup", "one.npy"), "at least 2 examples; got 1"),
        (("mixup", "flat.npy"), "on the first axis of a single file"),
        (("mixup", "a.npy", "flat.npy"), "as in a.npy; got (3,)"),
        (("mixup", "a.npy", "broken.png"), "images or .npy files; got both"),
        (("mixup", "odd.npy"), "expected examples [T]"),
        (("mixup", "a.npy", "--spectrogram"), "--spectrogram examples [F, T]"),
        (("erm", "a.npy", "--alpha", "1"), "a mixer that takes it; got erm"),
        (("mixup", "a.npy", "--alpha", "nan"), "expected a finite number, 0 or more"),
        (("mixup", "a.npy", "--examples", "0"), "a whole number, from 1 to 20; got 0"),
        (("mixup", "a.npy", "--seed", "-1"), "a whole number, from 0 to 4294967295"),
        (("mixup", "a.npy", "--out", "a.xyz"), "ends in one of .png"),
        (("mixup", "a.npy", "--out", "no/a.png"), "a folder that exists; got no"),
    ],
)
def test_what_cannot_be_mixed_is_one_line_and_status_2(
    arguments, said, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    for name in ("broken.png", "broken.npy"):
        (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\nand no more")
    (tmp_path / "text.npy").write_text("1, 2")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "gone.png").symlink_to("no/a.png")
    np.save("objects", np.array([[{}], [{}]]))
    np.savez("a.npz", np.zeros((4, 20)))
    np.save("long", np.zeros((4, 20), np.longdouble))
    np.save("large", np.array([[1e300, -np.inf], [0, np.nan]]))
    np.save("a", np.zeros((4, 20)))
    np.save("one", np.zeros((1, 20)))
    np.save("flat", np.zeros(3))
    np.save("odd", np.zeros((4, 8, 8, 2)))
    np.save("words", np.array([["a"], ["b"]]))
    with pytest.raises(SystemExit) as exit_:
        run(*arguments)
    assert exit_.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("python -m mixup_jax.plot: error: ")
    assert said in line
    assert "allow_pickle" not in line


def test_it_runs_as_a_module_without_a_warning():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "mixup_jax.plot", "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: python -m mixup_jax.plot")
