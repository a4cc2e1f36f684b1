"""Words of a line, and how often each has come."""

from dataclasses import dataclass


def words(event):
    """The words of a line, one record each, without what stands around them."""
    parts = (part.strip(".,:;!?\"'()—“”").lower() for part in event.line.split())
    return [{"word": part} for part in parts if part]


@dataclass
class Total:
    """What is remembered of one word."""

    count: int = 0


def count(total, event):
    """The word, and how often it has come so far."""
    total.count += 1
    return {"word": event.word, "count": total.count}
