"""The input of ``examples.imagenet``: ImageNet's own tar files, read by Grain.

``index`` finds the pictures in the tar files and their labels, ``pictures`` decodes and
crops them, ``pipeline`` makes batches of them, and ``faults`` says what to do with the
bad ones. ``toy`` has small data sets that the same pipeline takes.
"""
