"""What `bettong doctor` says of the box, on facts that are made up or made so."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.cli.doctor import clock, disk, facts, kernel, limits, permissions, ports, temporary
from appliance.cli.doctor.finding import Finding, Level
from appliance.cli.doctor.flows import check_flows
from appliance.cli.doctor.still import check_still
from appliance.load import load

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
AS_USER = pytest.mark.skipif(os.geteuid() == 0, reason="root may do everything")


def levels(findings: list[Finding]) -> dict[str, str]:
    return {finding.subject: finding.level.value for finding in findings}


def write(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """A small tmpfs; skips where it cannot be had."""
    folder.mkdir(exist_ok=True)
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {made.stderr.decode()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


# ---- clock ----


def test_a_clock_of_before_the_program_is_not_set() -> None:
    assert clock.check_set(0, 86_400_000_000).level is Level.FAULT
    assert clock.check_set(1_800_000_000, 1_800_000_000_000_000).found == "2027-01-15T08:00:00.000Z"


def test_a_clock_that_nobody_keeps_right_is_said() -> None:
    assert clock.check_kept(clock.Kept(False, 16_000_000)).level is Level.WARNING
    assert clock.check_kept(None).level is Level.WARNING
    assert clock.check_kept(clock.Kept(True, 12_000)).found == "at most 12 ms off"


def test_the_kernel_says_what_it_knows_of_its_clock() -> None:
    found = clock.ask_kernel()
    assert found is None or found.error_max_us >= 0


@pytest.mark.parametrize(("name", "level"), [("tsc", Level.OK), ("hpet", Level.WARNING)])
def test_a_slow_clock_source_is_said(tmp_path: Path, name: str, level: Level) -> None:
    folder = "sys/devices/system/clocksource/clocksource0"
    write(tmp_path, f"{folder}/current_clocksource", f"{name}\n")
    write(tmp_path, f"{folder}/available_clocksource", "tsc hpet\n")
    assert clock.check_source(tmp_path).level is level


# ---- disk ----


@AS_ROOT
def test_a_full_disk_is_a_fault(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=64k") as folder:
        found = levels(disk.check_disk(folder))
        assert found["space"] == "fault"
        with (folder / "fill").open("wb") as file, contextlib.suppress(OSError):
            file.write(bytes(1 << 20))
        assert levels(disk.check_disk(folder))["sync"] == "fault"


@AS_ROOT
def test_a_disk_that_is_mounted_read_only_is_a_fault(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=64k,ro") as folder:
        assert levels(disk.check_disk(folder))["writable"] == "fault"


@AS_ROOT
def test_a_disk_without_inodes_is_a_fault(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=1m,nr_inodes=10") as folder:
        assert levels(disk.check_disk(folder))["inodes"] == "fault"


def test_the_folder_need_not_be_there_yet(tmp_path: Path) -> None:
    found = disk.check_disk(tmp_path / "not" / "yet")
    assert levels(found).keys() == {"space", "inodes", "file system", "sync"}
    assert list(tmp_path.iterdir()) == []


def test_room_is_held_against_what_spools_may_take() -> None:
    assert disk.check_room(10 << 30, 512 << 20).level is Level.OK
    assert disk.check_room(400 << 20, 512 << 20).level is Level.WARNING
    assert disk.check_room(100 << 20, 0).level is Level.WARNING
    assert disk.check_room(1 << 20, 0).level is Level.FAULT


MOUNTS = """22 1 0:21 / / rw - ext4 /dev/sda1 rw
23 22 0:22 / {0} rw - nfs4 server:/export rw
24 22 0:23 / {0}/a\\040b rw - tmpfs tmpfs rw
25 22 0:23 / {0}else rw - btrfs /dev/sdb rw
"""


def test_the_innermost_mount_counts(tmp_path: Path) -> None:
    write(tmp_path, "proc/self/mountinfo", MOUNTS.format(tmp_path / "data"))
    kinds = {
        name: facts.mount_of(tmp_path / name, tmp_path)
        for name in ("", "data", "data/x", "data/a b/c", "dataelse")
    }
    assert {name: found and found.kind for name, found in kinds.items()} == {
        "": "ext4",
        "data": "nfs4",
        "data/x": "nfs4",
        "data/a b/c": "tmpfs",
        "dataelse": "btrfs",
    }
    assert disk.check_kind(tmp_path / "data", tmp_path).level is Level.WARNING
    assert disk.check_kind(tmp_path / "data/a b", tmp_path).level is Level.WARNING
    assert disk.check_kind(tmp_path, tmp_path).level is Level.OK


# ---- temporary files ----


def test_a_folder_for_temporary_files_that_is_not_there(tmp_path: Path) -> None:
    (found,) = temporary.check_temporary({"TMPDIR": str(tmp_path / "gone")})
    assert (found.level, found.subject) == (Level.FAULT, "folder")


def test_noexec_matters_to_one_file_only(tmp_path: Path) -> None:
    assert temporary.check_exec("/tmp", True, one_file=True).level is Level.FAULT
    assert temporary.check_exec("/tmp", True, one_file=False).level is Level.OK
    assert temporary.check_exec("/tmp", False, one_file=True).level is Level.OK
    assert temporary.check_room(1 << 20, one_file=True).level is Level.FAULT
    assert temporary.check_room(1 << 20, one_file=False).level is Level.WARNING


@AS_ROOT
def test_noexec_is_seen(tmp_path: Path) -> None:
    with mounted(tmp_path / "tmp", "size=64k,noexec") as folder:
        found = levels(temporary.check_temporary({"TMPDIR": str(folder)}, one_file=True))
        assert found == {"folder": "ok", "space": "fault", "programs": "fault"}


def test_a_plain_interpreter_unpacks_nothing() -> None:
    assert not temporary.unpacks()


# ---- permissions ----


def test_a_folder_that_others_may_use(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    assert levels(permissions.check_folder(folder)) == {"data folder": "ok", "data files": "ok"}
    folder.chmod(0o750)  # as the service has it
    assert levels(permissions.check_folder(folder))["data folder"] == "ok"
    for mode in (0o755, 0o770):
        folder.chmod(mode)
        (found,) = permissions.check_folder(folder)
        assert found.level is Level.WARNING
        assert found.remedy == f"chmod 750 {folder}"


@AS_USER
def test_a_folder_that_is_read_only(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o500)
    (found,) = permissions.check_folder(folder)
    assert found.level is Level.FAULT
    (found,) = permissions.check_folder(folder / "inside")
    assert found.level is Level.FAULT


@AS_ROOT
def test_files_that_a_run_as_another_user_has_left(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    (folder / "state/shared").mkdir(parents=True)
    folder.chmod(0o700)
    (folder / "state/shared/data.mdb").touch()
    os.chown(folder / "state/shared/data.mdb", 4321, -1)
    found = permissions.check_folder(folder)
    assert levels(found)["data files"] == "fault"
    assert "data.mdb is 4321's" in found[1].found


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    (found,) = permissions.check_folder(tmp_path / "data")
    assert found.level is Level.FAULT


def test_a_flow_that_is_not_there(tmp_path: Path) -> None:
    assert permissions.check_flow(tmp_path / "flow.toml").level is Level.FAULT


def test_secrets_that_every_user_of_the_box_may_read(tmp_path: Path) -> None:
    flow = tmp_path / "flow.toml"
    flow.write_text('[source.in]\nmqtt = { password = "${PASSWORD}" }\n')
    flow.chmod(0o644)
    subject = "secrets in flow.toml"
    assert subject not in levels(permissions.check_permissions(tmp_path, [str(flow)]))
    flow.write_text('[source.in]\nmqtt = { password = "hunter2" }\n')
    found = permissions.check_permissions(tmp_path, [str(flow)])
    assert levels(found)[subject] == "warning"
    assert "hunter2" not in str(found)
    flow.chmod(0o640)
    assert subject not in levels(permissions.check_permissions(tmp_path, [str(flow)]))


@AS_ROOT
def test_what_we_may_not_look_into_is_said(tmp_path: Path) -> None:
    """As another user, in a folder that is root's alone: findings, and no traceback."""
    folder = tmp_path / "etc"
    folder.mkdir(mode=0o700)
    flow = folder / "flow.toml"
    flow.write_text("version = 1")
    checks = (
        lambda: permissions.check_permissions(folder / "data", [str(flow)]),
        lambda: permissions.check_permissions(folder, [str(folder)]),
        lambda: check_flows([str(flow)])[0],
        lambda: check_still(folder / "data").findings,
        lambda: disk.check_disk(folder / "data"),
    )
    try:
        os.setresuid(65534, 65534, 0)
    except OSError as error:
        pytest.skip(f"nobody else can be here: {error.strerror}")
    try:
        found = [check() for check in checks]
    finally:
        os.setresuid(0, 0, 0)
    assert levels(found[0]) == {"data folder": "fault", "flow flow.toml": "fault"}
    assert levels(found[1]) == {"data folder": "fault", "flow etc": "fault"}
    assert levels(found[2]) == {str(flow): "fault"}
    assert levels(found[4])["sync"] == "fault"


# ---- ports ----

LISTENING = """
version = 1
name = "{name}"
[source.in]
{source}
[sink.out]
stdout = {{}}
"""


def plans(folder: Path, source: str, name: str = "flow") -> list[Any]:
    path = folder / f"{name}.toml"
    path.write_text(LISTENING.format(source=source, name=name))
    return load([path])


def test_a_port_that_another_program_has(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        flows = plans(tmp_path, f'tcp = {{ listen = "127.0.0.1:{port}" }}')
        (found,) = ports.check_ports(flows, None)
        assert found.level is Level.FAULT
        assert f"held by process {os.getpid()} (" in found.found
        status = {"flows": [{"name": "flow", "sources": [{"name": "in"}], "sinks": []}]}
        (found,) = ports.check_ports(flows, status)
        assert found.level is Level.OK
    (found,) = ports.check_ports(flows, None)
    assert found.level is Level.OK


def test_a_port_for_datagrams(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        (found,) = ports.check_ports(
            plans(tmp_path, f'udp = {{ listen = "127.0.0.1:{port}" }}'), None
        )
        assert found.level is Level.FAULT
        assert f"process {os.getpid()} (" in found.found
        (found,) = ports.check_ports(plans(tmp_path, 'tcp = { listen = "127.0.0.1:0" }'), None)
        assert found.found == "any free port"


def test_an_address_that_the_box_has_not(tmp_path: Path) -> None:
    (found,) = ports.check_ports(plans(tmp_path, 'tcp = { listen = "203.0.113.7:9000" }'), None)
    assert found.level is Level.FAULT
    assert found.found.endswith("this box has no such address")


def test_links_listen_too(tmp_path: Path) -> None:
    flows = plans(tmp_path, 'upstream = { listen = "tcp://127.0.0.1:7700" }')
    (found,) = ports.listeners(flows)
    assert (found.address, found.kind) == ("127.0.0.1:7700", socket.SOCK_STREAM)


def test_a_port_below_1024_needs_a_permission(tmp_path: Path) -> None:
    write(tmp_path, "proc/self/status", "Name:\tx\nCapEff:\t0000000000000000\n")
    one = ports.Listening("flow", "in", "127.0.0.1:502")
    assert ports.check_port(one, tmp_path).level is Level.FAULT
    write(tmp_path, "proc/self/status", "Name:\tx\nCapEff:\t0000000000000400\n")
    assert ports.may_bind(502, tmp_path)
    write(tmp_path, "proc/self/status", "CapEff:\t0000000000000000\n")
    write(tmp_path, "proc/sys/net/ipv4/ip_unprivileged_port_start", "80\n")
    assert ports.may_bind(502, tmp_path) and not ports.may_bind(79, tmp_path)


# ---- limits ----

LIMITS = """Limit                     Soft Limit           Hard Limit           Units
Max file size             {size}            unlimited            bytes
Max open files            256                  {files}                files
Max address space         {space}            unlimited            bytes
"""
MEMORY = "MemTotal:  262144 kB\nMemAvailable:  {free} kB\nHugePages_Total: 0\n"


def test_limits_of_a_process(tmp_path: Path) -> None:
    values = {"size": "1048576", "files": "512", "space": "unlimited"}
    write(tmp_path, "proc/7/limits", LIMITS.format(**values))
    write(tmp_path, "proc/meminfo", MEMORY.format(free=200_000))
    assert levels(limits.check_limits(64 << 20, "7", tmp_path)) == {
        "open files": "warning",
        "file size": "warning",
        "addresses": "ok",
        "memory": "ok",
        "memory of the group": "ok",
    }
    assert limits.check_descriptors((10, 100)).level is Level.FAULT
    assert limits.check_addresses((1 << 30, 1 << 30)).level is Level.WARNING


def test_our_own_limits_are_seen(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = facts.limit_of("Max open files")
    unlimited = resource.RLIM_INFINITY
    assert found == tuple(float("inf") if one == unlimited else one for one in (soft, hard))


def test_memory_that_is_not_there(tmp_path: Path) -> None:
    write(tmp_path, "proc/meminfo", MEMORY.format(free=50_000))
    assert limits.check_memory(16 << 20, root=tmp_path).level is Level.WARNING
    assert limits.check_memory(16 << 20, runs=True, root=tmp_path).level is Level.OK
    assert limits.check_memory(1 << 30, root=tmp_path).level is Level.FAULT
    assert limits.check_memory(1 << 30, root=tmp_path / "none").level is Level.OK


def test_the_bound_of_the_service_counts(tmp_path: Path) -> None:
    """The smallest on the way up, of the new kind and of the old."""
    write(tmp_path, "proc/meminfo", MEMORY.format(free=50_000))
    write(tmp_path, "proc/7/cgroup", "0::/system.slice/bettong.service\n")
    group = "sys/fs/cgroup/system.slice"
    write(tmp_path, f"{group}/bettong.service/memory.max", "max\n")
    assert limits.group_limit("7", tmp_path) is None
    write(tmp_path, f"{group}/memory.max", "134217728\n")
    assert limits.group_limit("7", tmp_path) == 128 << 20
    assert limits.check_group(128 << 20, 128 << 20).level is Level.FAULT
    assert limits.check_group(32 << 20, 128 << 20).level is Level.OK
    write(tmp_path, "proc/8/cgroup", "4:memory:/box\n1:cpu:/\n0::/\n")
    write(tmp_path, "sys/fs/cgroup/memory/box/memory.limit_in_bytes", "9223372036854771712\n")
    assert limits.group_limit("8", tmp_path) is None
    write(tmp_path, "sys/fs/cgroup/memory/memory.limit_in_bytes", "67108864\n")
    assert limits.group_limit("8", tmp_path) == 64 << 20


# ---- kernel ----


def test_this_kernel_has_what_is_needed() -> None:
    found = kernel.check_features()
    assert found.level is Level.OK, found


def test_a_feature_that_a_filter_refuses() -> None:
    def refused() -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    found = kernel.check_features({"inotify": refused, "epoll": lambda: None})
    assert found.level is Level.FAULT
    assert "inotify (Operation not permitted)" in found.found


def test_few_watches_are_said(tmp_path: Path) -> None:
    assert kernel.check_watches(tmp_path).level is Level.OK
    write(tmp_path, "proc/sys/fs/inotify/max_user_watches", "100\n")
    write(tmp_path, "proc/sys/fs/inotify/max_user_instances", "128\n")
    assert kernel.check_watches(tmp_path).level is Level.WARNING
    write(tmp_path, "proc/sys/fs/inotify/max_user_watches", "65536\n")
    assert kernel.check_watches(tmp_path).level is Level.OK
    write(tmp_path, "proc/sys/fs/inotify/max_user_instances", "8\n")
    assert kernel.check_watches(tmp_path).level is Level.WARNING


def test_strict_accounting_is_said() -> None:
    assert kernel.check_overcommit(2).level is Level.WARNING
    assert kernel.check_overcommit(0).level is Level.OK
