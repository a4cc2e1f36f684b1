"""The disk of the data folder: room, kind, and whether what is synced is synced."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from appliance import clock
from appliance.cli.doctor.facts import ROOT, existing, mount_of
from appliance.cli.doctor.finding import Finding, fault, ok, warning
from appliance.limits import (
    DOCTOR_DISK_FAULT_BYTES,
    DOCTOR_DISK_WARNING_BYTES,
    DOCTOR_INODE_MIN_COUNT,
    DOCTOR_SYNC_COUNT,
    DOCTOR_SYNC_SLOW_S,
)
from appliance.metrics.summary import size_words, time_words

GROUP = "disk"

_REMOTE = {"9p", "afs", "ceph", "cifs", "fuse.glusterfs", "fuse.sshfs", "nfs", "nfs4", "smb3"}
_FLEETING = {"overlay", "ramfs", "tmpfs"}
_SIMPLE = {"exfat", "msdos", "vfat"}


def check_disk(folder: Path, spool_bytes: int = 0, root: Path = ROOT) -> list[Finding]:
    """All of it, for a data folder that may not exist yet; `spool_bytes` is what the flows' spools
    may take."""
    here = existing(folder)
    about = os.statvfs(here)
    findings = [
        check_room(about.f_bavail * about.f_frsize, spool_bytes),
        check_inodes(about.f_files, about.f_favail),
        check_kind(here, root),
    ]
    if about.f_flag & os.ST_RDONLY:
        remedy = "mount it read-write; after an error of the disk the kernel makes it read-only"
        return [*findings, fault(GROUP, "writable", f"{here} is mounted read-only", remedy)]
    return [*findings, check_sync(here)]


def check_room(free_bytes: int, spool_bytes: int) -> Finding:
    """Free space, against what is needed at all and what the spools may take."""
    found = f"{size_words(free_bytes)} free"
    remedy = "make room, or name another data folder with --data"
    if free_bytes < DOCTOR_DISK_FAULT_BYTES:
        return fault(GROUP, "space", f"{found}: nothing can be committed", remedy)
    if free_bytes < DOCTOR_DISK_WARNING_BYTES:
        return warning(GROUP, "space", found, remedy)
    if free_bytes < spool_bytes:
        found += f"; spools may take {size_words(spool_bytes)} while sinks are away"
        return warning(GROUP, "space", found, "make room, or lower `spool.max_bytes` of sinks")
    return ok(GROUP, "space", found)


def check_inodes(total: int, free: int) -> Finding:
    """Room for files. Some file systems have no such bound and say 0."""
    if total == 0:
        return ok(GROUP, "inodes", "as many as there is space")
    if free < DOCTOR_INODE_MIN_COUNT:
        remedy = "remove small files: `du --inodes -x / | sort -n | tail` shows where they are"
        return fault(GROUP, "inodes", f"{free:,} free: no file can be made", remedy)
    return ok(GROUP, "inodes", f"{free:,} free")


def check_kind(folder: Path, root: Path = ROOT) -> Finding:
    """Whether the file system is one that keeps what is synced."""
    mount = mount_of(folder, root)
    if mount is None:
        return ok(GROUP, "file system", "the kernel does not say")
    found = f"{mount.kind} at {mount.point}"
    if mount.kind in _REMOTE:
        remedy = "keep the data folder on a disk of the box: a store is not safe over a network"
        return warning(GROUP, "file system", found, remedy)
    if mount.kind in _FLEETING:
        remedy = "keep the data folder on a disk or volume: this one goes with the next start"
        return warning(GROUP, "file system", found, remedy)
    if mount.kind in _SIMPLE:
        remedy = "use ext4, xfs, f2fs or btrfs: this one is not made for power cuts"
        return warning(GROUP, "file system", found, remedy)
    return ok(GROUP, "file system", found)


def check_sync(folder: Path) -> Finding:
    """Whether a file can be written and synced there, and how long that takes: every cut waits for
    it. The file has no name, or none for long."""
    took_s = []
    try:
        with tempfile.TemporaryFile(prefix=".bettong-doctor-", dir=folder) as file:
            for _ in range(DOCTOR_SYNC_COUNT):
                begun_s = clock.monotonic_s()
                file.write(bytes(4096))
                file.flush()
                os.fsync(file.fileno())
                took_s.append(clock.monotonic_s() - begun_s)
    except OSError as error:
        remedy = "see `dmesg` for errors of the disk, and the permissions of the folder"
        found = f"{folder}: a file cannot be written and synced: {error.strerror}"
        return fault(GROUP, "sync", found, remedy)
    median_s = sorted(took_s)[len(took_s) // 2]
    found = f"4 KiB are safe after {time_words(median_s * 1e6)}"
    if median_s > DOCTOR_SYNC_SLOW_S:
        remedy = "a longer `commit_every` asks less of the disk; see what else writes to it"
        return warning(GROUP, "sync", found, remedy)
    return ok(GROUP, "sync", found)
