"""Synthetic images of shapes for segmentation, with the class of each pixel.

Triangles, squares and discs have the same distributions of color, texture and area.
They are noisy and may occlude each other or cross the edge, so only their outlines
distinguish them.
"""

import numpy as np

SIZE = 32
CLASSES = ("background", "triangle", "square", "disc")
SIDES = {"triangle": 3, "square": 4, "disc": 60}


def scenes(draw: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return images and label maps.

    Returns:
      float32 ``[count, SIZE, SIZE, 3]``, roughly in [0, 1], and int32
      ``[count, SIZE, SIZE]`` indices into ``CLASSES``.
    """
    images, labels = zip(*(scene(draw) for _ in range(count)))
    return np.stack(images), np.stack(labels)


def scene(draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return an image of three shapes, the last one in front, and its label map."""
    image, labels = textured(draw, 0.0, 0.6), np.zeros((SIZE, SIZE), np.int32)
    for label in draw.integers(1, len(CLASSES), size=3):
        inside = shape(draw, SIDES[CLASSES[label]])
        image[inside], labels[inside] = textured(draw, 0.4, 1.0)[inside], label
    return (image + draw.normal(0, 0.05, image.shape)).astype(np.float32), labels


def shape(draw: np.random.Generator, sides: int) -> np.ndarray:
    """Return the mask of a regular polygon of random rotation, position and area."""
    angles = 2 * np.pi * (draw.uniform() + np.arange(sides)) / sides
    normals = np.stack([np.cos(angles), np.sin(angles)])
    inradius = np.sqrt(draw.uniform(80, 250) / (sides * np.tan(np.pi / sides)))
    places = np.moveaxis(np.indices((SIZE, SIZE)), 0, -1)
    places = places - draw.uniform(4, SIZE - 4, size=2)
    return np.max(places @ normals, axis=-1) <= inradius


def textured(draw: np.random.Generator, low: float, high: float) -> np.ndarray:
    """Return a texture of shades of one color, float64 ``[SIZE, SIZE, 3]``."""
    patch = draw.choice([1, 2, 4, 8])
    shades = draw.normal(0, 0.05, (SIZE // patch, SIZE // patch, 3))
    return draw.uniform(low, high, 3) + shades.repeat(patch, 0).repeat(patch, 1)
