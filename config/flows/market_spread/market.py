"""What is known of one symbol, and which of its orders are rejected."""


class Market:
    """The latest quote of a symbol."""

    def __init__(self):
        self.bid = None
        self.ask = None

    def on_event(self, event):
        """Remember a quote; give back an order that is rejected, with the reason."""
        if "bid" in event:
            self.bid, self.ask = event.bid, event.ask
            return None
        reason = self.reason_against(event.price)
        return {**event, "bid": self.bid, "ask": self.ask, "reason": reason} if reason else None

    def reason_against(self, price):
        """Why an order at this price is rejected, or None."""
        if self.bid is None:
            return "no quote"
        if price < self.bid:
            return "below the bid"
        return "above the ask" if price > self.ask else None
