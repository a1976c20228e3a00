"""Pictures of shapes, to segment, with the class of each pixel.

Triangles, squares and discs are alike in color, texture and area, noisy, and partly
behind each other or beyond the edge: their outlines alone tell them apart.
"""

import numpy as np

SIZE = 32
CLASSES = ("background", "triangle", "square", "disc")
SIDES = {"triangle": 3, "square": 4, "disc": 60}


def scenes(draw: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return pictures, and of each pixel its place among CLASSES.

    Returns:
      float32 ``[count, SIZE, SIZE, 3]``, around [0, 1]; int32 without the 3.
    """
    images, labels = zip(*(scene(draw) for _ in range(count)))
    return np.stack(images), np.stack(labels)


def scene(draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return one picture of three shapes, the last in front, and its label map."""
    image, labels = textured(draw, 0.0, 0.6), np.zeros((SIZE, SIZE), np.int32)
    for label in draw.integers(1, len(CLASSES), size=3):
        inside = shape(draw, SIDES[CLASSES[label]])
        image[inside], labels[inside] = textured(draw, 0.4, 1.0)[inside], label
    return (image + draw.normal(0, 0.05, image.shape)).astype(np.float32), labels


def shape(draw: np.random.Generator, sides: int) -> np.ndarray:
    """Return where a regular polygon lies, of any turn, place and area."""
    angles = 2 * np.pi * (draw.uniform() + np.arange(sides)) / sides
    normals = np.stack([np.cos(angles), np.sin(angles)])
    inradius = np.sqrt(draw.uniform(80, 250) / (sides * np.tan(np.pi / sides)))
    places = np.moveaxis(np.indices((SIZE, SIZE)), 0, -1)
    places = places - draw.uniform(4, SIZE - 4, size=2)
    return np.max(places @ normals, axis=-1) <= inradius


def textured(draw: np.random.Generator, low: float, high: float) -> np.ndarray:
    """Return patches of shades of one color, float64 ``[SIZE, SIZE, 3]``."""
    patch = draw.choice([1, 2, 4, 8])
    shades = draw.normal(0, 0.05, (SIZE // patch, SIZE // patch, 3))
    return draw.uniform(low, high, 3) + shades.repeat(patch, 0).repeat(patch, 1)
