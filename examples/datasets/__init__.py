"""Real files, read from their original formats: the one home of their readers.

`images` are at hand here by name; `tables` are CSV and ARFF files, those of the Mixup
papers among them, `recordings` are speech, and `questions` are text.
"""

from examples.datasets.images import DATASETS as DATASETS
from examples.datasets.images import Images as Images
from examples.datasets.images import cifar10 as cifar10
from examples.datasets.images import digits as digits
from examples.datasets.images import fashion_mnist as fashion_mnist
