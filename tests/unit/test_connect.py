"""The contracts of connectors: registration, options, addresses, traits."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from appliance import connect
from appliance.connect import (
    Chunk,
    Duration,
    EndOfInput,
    OptionFault,
    Rate,
    Resume,
    Size,
    check_options,
    construct,
    parse_address,
    sink,
    source,
)
from appliance.errors import EnvironmentFailure, FlowError


@source("numbers")
class Numbers:
    until: int
    folder: Path = Path("here")
    rate: Rate | None = None
    wait: Duration = Duration(0)
    room: Size = Size(0)
    names: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.until < 0:
            raise ValueError("until is below 0")

    def open(self, positions: Mapping[str, bytes]) -> None: ...

    def read(self, limit: int) -> Chunk | None:
        raise EndOfInput

    def close(self) -> None: ...


def test_every_built_in_connector_is_found_by_its_name() -> None:
    for name in connect.SOURCE_NAMES:
        assert isinstance(connect.source_class(name).__name__, str)
    for name in connect.SINK_NAMES:
        assert connect.sink_class(name) is not None


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(LookupError, match="there are: acknowledged_tcp, file"):
        connect.source_class("fiel")


def test_a_decorated_class_is_a_dataclass_that_cannot_take_a_built_in_name() -> None:
    @source("file")
    class Mine:
        def open(self, positions: Mapping[str, bytes]) -> None: ...
        def read(self, limit: int) -> Chunk | None: ...
        def close(self) -> None: ...

    assert connect.source_class("file") is not Mine
    assert Mine() == Mine()


def test_a_class_without_a_verb_is_refused_with_its_name() -> None:
    with pytest.raises(TypeError, match="write"):

        @sink("half")
        class Half:
            def open(self, resume: Resume) -> None: ...
            def close(self) -> None: ...


def test_options_become_fields_with_units_and_paths_from_the_base(tmp_path: Path) -> None:
    options = {"until": 3, "folder": "in", "rate": "120/m", "wait": "2s", "room": "1KiB"}
    made = construct(Numbers, options, tmp_path)
    assert (made.until, made.folder, made.rate) == (3, tmp_path / "in", 2.0)
    assert (made.wait, made.room) == (2_000_000, 1024)


@pytest.mark.parametrize(
    ("options", "key", "message", "remedy"),
    [
        ({"until": 1, "foldr": "x"}, "foldr", "unknown key 'foldr'", "did you mean 'folder'?"),
        ({}, "", "'until' is missing", ""),
        ({"until": "3"}, "until", "a whole number was expected, not '3'", ""),
        ({"until": True}, "until", "a whole number was expected, not true", ""),
        ({"until": 1, "rate": "fast"}, "rate", 'write one like "200/s"', ""),
        ({"until": 1, "wait": 5}, "wait", 'a text such as "10s" was expected, not 5', ""),
        ({"until": 1, "names": "ab"}, "names", "a list was expected, not 'ab'", ""),
        ({"until": -1}, "", "until is below 0", ""),
    ],
)
def test_a_wrong_option_is_one_fault(
    options: dict[str, object], key: str, message: str, remedy: str
) -> None:
    (fault,) = check_options(Numbers, options)
    assert fault.key == key
    assert message in fault.message
    assert remedy in fault.remedy


def test_all_wrong_options_are_found_at_once() -> None:
    faults = check_options(Numbers, {"until": "a", "folder": 1, "speed": 2})
    assert [fault.key for fault in faults] == ["until", "folder", "speed"]
    assert all(isinstance(fault, OptionFault) for fault in faults)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9000", ("127.0.0.1", 9000)),
        (":9000", ("127.0.0.1", 9000)),
        ("9000", ("127.0.0.1", 9000)),
        ("[::1]:80", ("::1", 80)),
        ("box.local:1", ("box.local", 1)),
    ],
)
def test_an_address_without_a_host_is_the_loopback(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "host", "host:", "host:70000", "host:-1", "a:b", "a:²"])
def test_what_is_no_address_is_said_so(text: str) -> None:
    with pytest.raises(ValueError, match="is not an address"):
        parse_address(text)


def test_a_tcp_source_listens_or_connects_but_not_both() -> None:
    cls = connect.source_class("tcp")
    assert check_options(cls, {"listen": ":1"}) == []
    assert check_options(cls, {"connect": "box:1"}) == []
    assert "either listen" in check_options(cls, {})[0].message
    assert "either listen" in check_options(cls, {"listen": ":1", "connect": ":2"})[0].message


def test_a_port_in_use_is_one_clear_message() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        made = construct(connect.source_class("tcp"), {"listen": address})
        with pytest.raises(EnvironmentFailure, match=f"cannot listen on {address}: another"):
            made.open({})


def test_a_listener_describes_itself_to_the_lane() -> None:
    made = construct(connect.source_class("tcp"), {"listen": "0"})
    made.open({})
    end = made.native()
    assert end.entry() == {"kind": "listen", "fd": end.fd}
    assert end.label.startswith("127.0.0.1:") and not end.label.endswith(":0")
    assert not os.get_blocking(end.fd)
    assert not os.get_inheritable(end.fd)
    os.close(end.fd)


def test_what_connects_gives_its_peer_and_no_descriptor() -> None:
    made = construct(connect.sink_class("tcp"), {"connect": "box.local:7000"})
    made.open(Resume())
    assert made.native().peer == ("box.local", 7000)
    assert made.native().entry() == {"kind": "connect"}


def test_a_missing_file_or_an_empty_glob_is_said_before_the_lane_starts(tmp_path: Path) -> None:
    cls = connect.source_class("file")
    with pytest.raises(EnvironmentFailure, match=r"there is no file .*none\.json"):
        construct(cls, {"path": "none.json"}, tmp_path).open({})
    with pytest.raises(EnvironmentFailure, match="no file matches"):
        construct(cls, {"glob": "*.json"}, tmp_path).open({})
    with pytest.raises(EnvironmentFailure, match="is not a file"):
        construct(cls, {"path": "."}, tmp_path).open({})


def test_a_glob_reads_its_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b.json", "a.json", "c.txt"):
        (tmp_path / name).write_text("")
    made = construct(connect.source_class("file"), {"glob": "*.json"}, tmp_path)
    made.open({})
    assert [Path(path).name for path in made.native().paths] == ["a.json", "b.json"]


def test_a_file_source_is_replayable_and_ends_unless_it_follows(tmp_path: Path) -> None:
    cls = connect.source_class("file")
    plain, following = (construct(cls, {"path": "a", "follow": f}) for f in (False, True))
    assert connect.guarantee(plain) == "replayable"
    assert connect.is_bounded(plain)
    assert not connect.is_bounded(following)


def test_a_file_sink_replaces_only_when_the_run_is_fresh(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    for fresh, offset in ((False, 4), (True, 0)):
        path.write_text("old\n")
        made = construct(connect.sink_class("file"), {"path": "out.json"}, tmp_path)
        made.open(Resume(fresh=fresh))
        end = made.native()
        os.close(end.fd)
        assert (end.kind, end.offset, path.stat().st_size) == ("file", offset, offset)


def test_a_file_sink_without_its_folder_says_which(tmp_path: Path) -> None:
    made = construct(connect.sink_class("file"), {"path": "no/out.json"}, tmp_path)
    with pytest.raises(EnvironmentFailure, match=f"there is no folder {tmp_path}/no"):
        made.open(Resume())


def test_a_device_is_written_as_a_stream() -> None:
    made = construct(connect.sink_class("file"), {"path": "/dev/null"})
    made.open(Resume(fresh=True))
    end = made.native()
    os.close(end.fd)
    assert end.kind == "stream"


def test_a_pipe_on_standard_input_does_not_block_and_leaves_its_other_users_alone() -> None:
    reading, writing = os.pipe()
    kept = os.dup(0)
    os.dup2(reading, 0)
    try:
        made = construct(connect.source_class("stdin"), {})
        made.open({})
        fd = made.native().fd
        assert not os.get_blocking(fd)
        assert os.get_blocking(0)
        os.close(fd)
    finally:
        os.dup2(kept, 0)
        for fd in (kept, reading, writing):
            os.close(fd)


USER_FILE = """
from appliance.connect import Chunk, source

@source("modbus")
class Modbus:
    host: str
    def open(self, positions): ...
    def read(self, limit): ...
    def close(self): ...

class Plain: ...
"""


def test_a_users_connector_is_loaded_by_path(tmp_path: Path) -> None:
    (tmp_path / "modbus.py").write_text(USER_FILE)
    cls = connect.load_user_connector("modbus.py:Modbus", tmp_path)
    assert construct(cls, {"host": "box"}).host == "box"
    assert connect.guarantee(construct(cls, {"host": "box"})) == "fire and forget"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("modbus.py", "is not FILE.py:CLASS"),
        ("nothing.py:Modbus", "there is no file"),
        ("modbus.py:Serial", "has no class Serial"),
        ("modbus.py:Plain", "is no connector"),
    ],
)
def test_what_is_no_connector_is_said_so(tmp_path: Path, reference: str, message: str) -> None:
    (tmp_path / "modbus.py").write_text(USER_FILE)
    with pytest.raises(ValueError, match=message):
        connect.load_user_connector(reference, tmp_path)


def test_a_users_file_that_raises_is_a_fault_of_the_flow(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("1 / 0\n")
    with pytest.raises(FlowError, match="ZeroDivisionError"):
        connect.load_user_connector("broken.py:Modbus", tmp_path)
