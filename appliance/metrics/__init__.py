"""Turning what lanes count into what people and programs read."""
