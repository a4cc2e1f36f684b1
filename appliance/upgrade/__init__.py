"""Putting a newer version in the place of the one that runs, and going back from it."""
