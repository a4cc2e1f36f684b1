"""Messages from an MQTT broker, none lost: each is acknowledged when a cut holds it.

It needs a client library: pip install 'bettong[mqtt]'.
"""

import queue
from collections import deque

import paho.mqtt.client as mqtt

from appliance.connect import Chunk, Messages, source


@source("mqtt")
class Mqtt(Messages):
    """Subscribe to `topic` (which may hold + and #) at `host`. The broker keeps what comes while
    `client_id` is away."""

    host: str
    topic: str
    port: int = 1883
    client_id: str = "bettong"

    def open(self, positions):
        self.count = int(positions.get("", b"0"))
        self.arrived = queue.Queue(maxsize=1000)  # when it is full, the broker has to wait
        self.unacknowledged = deque()
        version = mqtt.CallbackAPIVersion.VERSION2
        self.client = mqtt.Client(version, self.client_id, clean_session=False, manual_ack=True)
        self.client.on_connect = lambda client, *_: client.subscribe(self.topic, qos=1)
        self.client.on_message = lambda _client, _data, message: self.arrived.put(message)
        self.client.connect(self.host, self.port)
        self.client.loop_start()

    def read(self, limit):
        try:
            message = self.arrived.get(timeout=0.1)
        except queue.Empty:
            return None
        self.count += 1
        self.unacknowledged.append((self.count, message))
        return Chunk([message.payload], position=b"%d" % self.count)

    def committed(self, positions):
        while self.unacknowledged and self.unacknowledged[0][0] <= int(positions[""]):
            _, message = self.unacknowledged.popleft()
            self.client.ack(message.mid, message.qos)

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()
