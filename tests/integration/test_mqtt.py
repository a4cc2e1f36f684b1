"""The example source for MQTT, against a broker of our own."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from integration.processes import PATIENCE_S, ROOT, Running, eventually, running

MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

pytestmark = pytest.mark.skipif(
    MOSQUITTO is None, reason="no mosquitto is installed here (apt-get install mosquitto)"
)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def broker(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A broker on this port, ready when this begins and gone when it ends."""
    settings = folder / "mosquitto.conf"
    settings.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nuser root\n")
    assert MOSQUITTO is not None
    process = subprocess.Popen(
        [MOSQUITTO, "-c", str(settings)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )

    def answers() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        eventually(answers, "the broker listens")
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_S)


def publish(port: int, *celsius: float) -> None:
    """Each of these as a message of its own, acknowledged by the broker."""
    import paho.mqtt.publish

    paho.mqtt.publish.multiple(
        [(f"factory/{i}/celsius", f'{{"celsius":{c}}}', 1, False) for i, c in enumerate(celsius)],
        hostname="127.0.0.1",
        port=port,
    )


def result(celsius: float) -> str:
    return f'{{"celsius":{celsius},"fahrenheit":{round(celsius * 1.8 + 32, 1)}}}\n'


def make_flow(folder: Path, port: int, commit_every: str = "50ms") -> None:
    """The example as it stands, but for the port and the time between cuts."""
    shutil.copy(ROOT / "config/flows/mqtt/mqtt_source.py", folder)
    text = (ROOT / "config/flows/mqtt/flow.toml").read_text()
    assert 'host = "${MQTT_HOST:-localhost}"' in text
    text = text.replace('host = "${MQTT_HOST:-localhost}"', f'host = "127.0.0.1", port = {port}')
    settings = f'[settings]\ncommit_every = "{commit_every}"\n[source.readings]'
    (folder / "flow.toml").write_text(text.replace("[source.readings]", settings))


def wait_until_subscribed(flow: Running, port: int) -> None:
    """Until a message goes through, and all that were sent for that have come: the broker drops
    what nobody has subscribed to."""
    probes = itertools.count(1000)
    sent = 0
    seen: list[str] = []

    def one_arrives() -> bool:
        nonlocal sent
        sent = next(probes)
        publish(port, float(sent))
        while not flow.lines.empty():
            seen.append(flow.line())
        return any(result(float(value)) in seen for value in range(1000, sent + 1))

    eventually(one_arrives, "a message goes through")
    while result(float(sent)) not in seen:
        seen.append(flow.line())


def test_messages_are_events_and_none_is_lost_or_comes_again_over_a_stop(tmp_path: Path) -> None:
    """Acknowledged after the cut, the last one when all has stopped: what comes while the flow is
    away waits with the broker, and a clean stop leaves nothing to be sent twice."""
    port = free_port()
    make_flow(tmp_path, port, commit_every="1h")
    with broker(tmp_path, port):
        with running(tmp_path, "run", "flow.toml") as flow:
            wait_until_subscribed(flow, port)
            publish(port, 21.5, -40.0, 100.0)
            for celsius in (21.5, -40.0, 100.0):
                assert flow.line() == result(celsius)
            assert flow.stop() == 0
        publish(port, 36.6)
        with running(tmp_path, "run", "flow.toml") as flow:
            assert flow.line() == result(36.6)
            assert flow.stop() == 0


def test_a_broker_that_is_away_is_waited_for_and_one_that_returns_is_found(tmp_path: Path) -> None:
    port = free_port()
    make_flow(tmp_path, port)
    with running(tmp_path, "run", "flow.toml") as flow:
        flow.wait_for("source failed; it is tried again")
        with broker(tmp_path, port):
            wait_until_subscribed(flow, port)
        with broker(tmp_path, port):
            wait_until_subscribed(flow, port)
            publish(port, 8.5)
            assert flow.line() == result(8.5)
        assert flow.stop() == 0


def test_a_message_that_is_no_reading_stops_nothing(tmp_path: Path) -> None:
    port = free_port()
    make_flow(tmp_path, port)
    with broker(tmp_path, port), running(tmp_path, "run", "flow.toml") as flow:
        wait_until_subscribed(flow, port)
        import paho.mqtt.publish

        for payload in (b"\xff\xfe{", b"", b'{"celsius":"warm"}', b'{"celsius":1.5}'):
            paho.mqtt.publish.single(
                "factory/x/celsius", payload, 1, hostname="127.0.0.1", port=port
            )
        assert flow.line() == result(1.5)
        assert flow.stop() == 0
