"""``mixup_jax.plot(batch, mix)``, and the command line ``python -m mixup_jax.plot``.

``mixup_jax.plot`` is the function. It is bound after this package is loaded, and Python
binds a package only when it loads it, so a later ``import mixup_jax.plot`` leaves the
function in place.
"""
