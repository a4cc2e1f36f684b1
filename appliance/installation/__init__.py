"""Putting Bettong on a box, and taking it away."""
