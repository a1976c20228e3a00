"""Readers of real data sets in their original file formats.

The image data sets of ``images`` are exported here by name. ``tables`` reads CSV and
ARFF files, including those of the Mixup papers, ``recordings`` speech, and
``questions`` text.
"""

from examples.datasets.images import DATASETS as DATASETS
from examples.datasets.images import Images as Images
from examples.datasets.images import cifar10 as cifar10
from examples.datasets.images import digits as digits
from examples.datasets.images import fashion_mnist as fashion_mnist
