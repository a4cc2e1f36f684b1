"""The support bundle: one compressed file with all that helps to understand a box from far away,
and nothing that should not leave it. MANIFEST.txt says what is in it and what was taken out.
"""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from appliance import __version__
from appliance.cli.doctor import parts
from appliance.cli.doctor.checks import Diagnosis
from appliance.cli.doctor.facts import ROOT
from appliance.cli.doctor.journal import recent_log
from appliance.cli.doctor.parts import Part
from appliance.cli.doctor.redact import Redactor, secrets_in, variables_in
from appliance.cli.doctor.report import document, lines
from appliance.errors import EnvironmentFailure
from appliance.layout import Layout
from appliance.limits import DOCTOR_PART_MAX_BYTES, FLOW_MAX_COUNT

_TOP = "bettong-support"


def write_bundle(
    path: Path,
    diagnosis: Diagnosis,
    flows: Sequence[str],
    folder: Path,
    root: Path = ROOT,
) -> None:
    """Make the file, which must not be there yet; only its owner may read it. EnvironmentFailure
    says why it cannot be made. The settings of the box go along, where it has some."""
    settings = Layout(root).settings
    written = parts.flow_documents([*flows, *([str(settings)] if os.path.exists(settings) else [])])
    documents = list(islice(written, FLOW_MAX_COUNT))
    redactor = Redactor(_known(documents, diagnosis))
    left_out: list[str] = []
    made = list(_parts(diagnosis, documents, folder, redactor, left_out, root))
    data = _packed([*made, _manifest(made, redactor, left_out)])
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
    except OSError as error:
        raise EnvironmentFailure(f"{path}: cannot be made: {error.strerror}") from error


def _known(
    documents: Sequence[tuple[Path, Mapping[str, Any] | None]],
    diagnosis: Diagnosis,
) -> Iterator[str]:
    """Secrets that must not turn up anywhere, not in a log either."""
    for _, found in documents:
        if found is not None:
            yield from secrets_in(found)
            yield from (diagnosis.environ.get(name, "") for name in variables_in(found))
    for plan in diagnosis.plans:
        for source in plan.sources.values():
            yield from secrets_in(source.options)
        for sink in plan.sinks.values():
            yield from secrets_in(sink.options)


def _parts(
    diagnosis: Diagnosis,
    documents: Sequence[tuple[Path, Mapping[str, Any] | None]],
    folder: Path,
    redactor: Redactor,
    left_out: list[str],
    root: Path,
) -> Iterator[Part]:
    findings = document(diagnosis.findings)
    yield Part("doctor.json", parts.as_json(redactor.document(findings, "doctor.json")))
    text = "\n".join(lines(diagnosis.findings)) + "\n"
    yield Part("doctor.txt", redactor.text(text, "doctor.txt"))
    yield parts.version_part()
    for number, (path, found) in enumerate(documents, 1):
        if found is None:
            left_out.append(f"{path}: no TOML, so nobody could tell what in it is a secret")
        else:
            name = f"flows/{number:02}-{path.stem}.json"
            yield Part(name, parts.as_json(redactor.document(found, name)))
    if diagnosis.status is not None:
        yield parts.status_part(diagnosis.status, redactor)
        left_out.append("records that were set aside: only when, where and why")
    else:
        left_out.append("status: nothing runs with this data folder")
        yield parts.stores_part(diagnosis.stores, redactor)
    yield parts.folder_part(folder, redactor)
    log = recent_log()
    if log:
        yield Part("log.txt", redactor.text(log, "log.txt"))
    else:
        left_out.append("log: there is no journal here with lines of the service bettong")
    pid = "self" if diagnosis.status is None else str(diagnosis.status["pid"])
    yield from parts.system_parts(redactor, pid, root)


def _manifest(made: Sequence[Part], redactor: Redactor, left_out: Sequence[str]) -> Part:
    """What is in the bundle, what was taken out, and what is not in it."""
    rows = [f"support bundle of bettong {__version__}", "", "in it:"]
    for part in made:
        size = len(part.text.encode())
        cut = f" (the last {DOCTOR_PART_MAX_BYTES} of them)" * (size > DOCTOR_PART_MAX_BYTES)
        rows.append(f"  {part.name}: {size} bytes{cut}")
    rows += ["", "taken out as secrets:"]
    rows += [f"  {place}: {count}" for place, count in sorted(redactor.taken.items())] or ["  none"]
    rows += ["", "not in it: state, records, positions, keys, Python files, and"]
    rows += [f"  {text}" for text in left_out]
    return Part("MANIFEST.txt", redactor.without_known("\n".join(rows) + "\n"))


def _packed(made: Sequence[Part]) -> bytes:
    """Sorted by name and without times or owners: the same facts give the same bytes."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for part in sorted(made, key=lambda one: one.name):
            data = part.text.encode()[-DOCTOR_PART_MAX_BYTES:]
            info = tarfile.TarInfo(f"{_TOP}/{part.name}")
            info.size, info.mode = len(data), 0o600
            archive.addfile(info, io.BytesIO(data))
    return gzip.compress(plain.getvalue(), mtime=0)
