"""Mixers made of mixers."""
