"""``mixup_jax.plot(batch, mix)``, and the command line ``python -m mixup_jax.plot``.

``mixup_jax.plot`` is the function, not this package: Python binds a package to its name
only on the first import, and the function is bound after that. A later
``import mixup_jax.plot`` leaves the function in place.
"""
