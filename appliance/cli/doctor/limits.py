"""What the system allows us: descriptors, memory, sizes of files."""

from __future__ import annotations

import math
from pathlib import Path

from appliance.cli.doctor.facts import ROOT, limit_of, number_of, text_of
from appliance.cli.doctor.finding import Finding, fault, ok, warning
from appliance.limits import (
    DESCRIPTOR_MAX_COUNT,
    DOCTOR_DESCRIPTOR_MIN_COUNT,
    DOCTOR_OWN_MEMORY_BYTES,
)
from appliance.metrics.summary import size_words

GROUP = "limits"

_UNIT = "`systemctl edit bettong`, or `ulimit` for a run by hand"


def check_limits(memory_bytes: int, pid: str = "self", root: Path = ROOT) -> list[Finding]:
    """All of them, for flows that may use so much memory, as they hold for a process (ours, or that
    of the run)."""
    return [
        check_descriptors(limit_of("Max open files", pid, root)),
        check_file_size(limit_of("Max file size", pid, root)),
        check_addresses(limit_of("Max address space", pid, root)),
        check_memory(memory_bytes, pid != "self", root),
        check_group(memory_bytes, group_limit(pid, root)),
    ]


def check_descriptors(limit: tuple[float, float] | None) -> Finding:
    """A worker raises the soft limit as far as the hard one lets it."""
    if limit is None:
        return ok(GROUP, "open files", "the kernel does not say")
    hard = limit[1]
    found = "as many as wanted" if hard == math.inf else f"{hard:,.0f}"
    remedy = f"raise it to {DESCRIPTOR_MAX_COUNT} (LimitNOFILE={DESCRIPTOR_MAX_COUNT}): {_UNIT}"
    if hard < DOCTOR_DESCRIPTOR_MIN_COUNT:
        return fault(GROUP, "open files", f"{found}: too few even for one flow", remedy)
    if hard < DESCRIPTOR_MAX_COUNT:
        found += ": too few for a source with thousands of connections or files"
        return warning(GROUP, "open files", found, remedy)
    return ok(GROUP, "open files", found)


def check_file_size(limit: tuple[float, float] | None) -> Finding:
    """A store is one file, which grows."""
    if limit is None or limit[0] == math.inf:
        return ok(GROUP, "file size", "as large as the disk allows")
    remedy = f"lift it (LimitFSIZE=infinity): {_UNIT}"
    found = f"a file may have {size_words(limit[0])}: a store that reaches it stops"
    return warning(GROUP, "file size", found, remedy)


def check_addresses(limit: tuple[float, float] | None) -> Finding:
    """A store is mapped into memory: it takes addresses, though no memory."""
    if limit is None or limit[0] == math.inf:
        return ok(GROUP, "addresses", "as many as wanted")
    remedy = f"lift it (LimitAS=infinity) and bound memory instead: {_UNIT}"
    found = f"a process may have {size_words(limit[0])}: a store that grows beyond cannot be opened"
    return warning(GROUP, "addresses", found, remedy)


def check_memory(memory_bytes: int, runs: bool = False, root: Path = ROOT) -> Finding:
    """The box's memory, against what flows may use and what the program itself takes. A run has
    part of that already: then only the whole counts."""
    facts = memory_facts(root)
    needed = memory_bytes + DOCTOR_OWN_MEMORY_BYTES
    if "MemTotal" not in facts:
        return ok(GROUP, "memory", "the kernel does not say")
    total, free = facts["MemTotal"], facts.get("MemAvailable", 0)
    found = f"{size_words(free)} of {size_words(total)} available"
    if needed > (total if runs else free):
        found += f"; the flows may take {size_words(needed)} (`settings.memory` and our own)"
        remedy = "lower `settings.memory`, or see what else takes it (`ps -e --sort -rss`)"
        return (fault if needed > total else warning)(GROUP, "memory", found, remedy)
    return ok(GROUP, "memory", found)


def check_group(memory_bytes: int, limit: int | None) -> Finding:
    """The bound of the service or container: beyond it the kernel ends the process."""
    if limit is None:
        return ok(GROUP, "memory of the group", "not bounded")
    found = f"bounded to {size_words(limit)}"
    needed = memory_bytes + DOCTOR_OWN_MEMORY_BYTES
    if limit >= needed:
        return ok(GROUP, "memory of the group", found)
    found += f"; the flows may take {size_words(needed)}, and would be ended"
    remedy = "raise MemoryMax= (or the container's bound), or lower `settings.memory`"
    return fault(GROUP, "memory of the group", found, remedy)


def memory_facts(root: Path = ROOT) -> dict[str, int]:
    """`/proc/meminfo`, in bytes."""
    facts = {}
    for line in text_of(root / "proc/meminfo").splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if words and words[0].isdigit():
            facts[name] = int(words[0]) * (1024 if words[1:] == ["kB"] else 1)
    return facts


def group_limit(pid: str = "self", root: Path = ROOT) -> int | None:
    """The smallest bound of memory on the way up from a process's control group; None: none."""
    limits = []
    for line in text_of(root / "proc" / pid / "cgroup").splitlines():
        number, controllers, path = (line.split(":", 2) + ["", ""])[:3]
        if number == "0" and not controllers:
            top, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            top, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        group = top / path.lstrip("/")
        for folder in (group, *group.parents):
            limits.append(number_of(folder / name))
            if folder == top:
                break
    total = memory_facts(root).get("MemTotal", 0)
    # The old kind says a number near 2^63 when there is no bound.
    return min(
        (one for one in limits if one is not None and (one < total or not total)), default=None
    )
