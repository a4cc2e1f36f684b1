"""`on_error = "stop"` (S3): the flow ends at its first error, the others go on."""

from __future__ import annotations

import socket
from pathlib import Path

from integration.processes import PATIENCE_S, Running, eventually, run, running, status_of

STRICT = """
version = 1
name = "strict"
[settings]
on_error = "stop"
[source.numbers]
{source}
[step.high]
where = "x > 1"
[sink.out]
stdout = {{}}
[sink.bad]
from = "errors"
file = {{ path = "bad.json" }}
"""

LENIENT = """
version = 1
name = "lenient"
[source.lines]
tcp = { listen = "127.0.0.1:0" }
[sink.out]
stdout = {}
"""

LISTEN = 'tcp = { listen = "127.0.0.1:0" }'


def send(flows: Running, name: str, data: str) -> None:
    """One connection to the source of this flow."""
    words = flows.wait_for(f"listening flow={name} ").split("address=")[1].split()[0]
    host, _, port = words.rpartition(":")
    with socket.create_connection((host, int(port)), PATIENCE_S) as connection:
        connection.sendall(data.encode())


def test_a_bounded_run_fails_at_the_first_error_which_is_written_out(tmp_path: Path) -> None:
    (tmp_path / "flow.toml").write_text(STRICT.format(source='file = { path = "in.json" }'))
    (tmp_path / "in.json").write_text('{"x":2}\n{"x":"two"}\n')
    ended = run(tmp_path, "run", "--once", "flow.toml")
    assert ended.returncode == 1
    assert ended.stdout == b'{"x":2}\n'
    assert b"flow strict stops at its first error" in ended.stderr
    assert '"event":{"x":"two"}' in (tmp_path / "bad.json").read_text()


def test_an_endless_run_ends_by_itself(tmp_path: Path) -> None:
    (tmp_path / "flow.toml").write_text(STRICT.format(source=LISTEN))
    with running(tmp_path, "run", "flow.toml") as flow:
        flow.send('{"x":2}\n{"x":"two"}\n')
        assert flow.end() == 1


def test_other_flows_of_the_run_go_on(tmp_path: Path) -> None:
    (tmp_path / "strict.toml").write_text(STRICT.format(source=LISTEN))
    (tmp_path / "lenient.toml").write_text(LENIENT)
    with running(tmp_path, "run", "strict.toml", "lenient.toml", "--data", "data") as flows:
        send(flows, "lenient", '{"first":1}\n')
        send(flows, "strict", '{"x":"two"}\n')
        flows.wait_for("stops at its first error")

        def states() -> dict[str, str]:
            found = status_of(tmp_path, "--data", "data")["workers"]
            return {worker["name"]: worker["state"] for worker in found}

        eventually(lambda: states()["strict"] == "finished", "the strict flow has stopped")
        assert states()["shared"] == "running"
        send(flows, "lenient", '{"still":"here"}\n')
        assert [flows.line(), flows.line()] == ['{"first":1}\n', '{"still":"here"}\n']
        assert flows.stop() == 1
