"""The mixing equation and its building blocks; no methods."""
