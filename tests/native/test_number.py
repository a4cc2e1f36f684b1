"""Numbers, times and UTF-8 as text: against Python's own float, datetime and codec (S4)."""

from __future__ import annotations

import math
import re
import struct
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from appliance.native import ffi, lib

NUMBER = re.compile(rb"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
INT64 = range(-(2**63), 2**63)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def read(text: bytes) -> tuple[int | float | None, int]:
    """What `number_read` makes of it, and how many bytes it took; eight more are readable."""
    block = ffi.new("char[]", text + b"\n" + b"9" * 7)
    value = ffi.new("value_t *")
    end = lib.number_read(block, value)
    if end == ffi.NULL:
        return None, 0
    return value.i if value.tag == lib.TAG_INT else value.f, end - ffi.cast("char *", block)


def write(number: float) -> str:
    out = ffi.new("char[]", 32)
    size = lib.number_write_float(out, number)
    return bytes(ffi.buffer(out, size)).decode()


def expected(text: bytes) -> int | float | None:
    if not NUMBER.fullmatch(text):
        return None
    if not re.search(rb"[.eE]", text) and int(text) in INT64:
        return int(text)
    number = float(text)
    return None if math.isinf(number) else number


def same(one: object, other: object) -> bool:
    """Equal, of one type, and of one sign where they are zero."""
    return repr(one) == repr(other)


def of_bits(bits: int) -> float:
    return float(struct.unpack("<d", struct.pack("<Q", bits))[0])


def neighbours(number: float) -> list[float]:
    """A double, and the two on either side of it."""
    (bits,) = struct.unpack("<Q", struct.pack("<d", number))
    near = [bits + step for step in range(-2, 3)]
    return [of_bits(it) for it in near if 0 <= it < 0x7FF << 52]


@pytest.mark.parametrize(
    "text",
    [
        b"0", b"-0", b"7", b"-12", b"9223372036854775807", b"-9223372036854775808", b"0.0", b"-0.0",
        b"-0e5",
        b"9223372036854775808", b"-9223372036854775809", b"123456789012345678901234567890", b"1e22",
        b"1e23",
        b"21.37", b"0.1", b"9007199254740993.0", b"9007199254740993e0", b"2.2250738585072011e-308",
        b"5e-324",
        b"1e-400", b"1.7976931348623157e308", b"0.000000000000000000000000000001234", b"1E+2",
        b"1" + b"0" * 308,
        b"4.9406564584124654e-324", b"2.4703282292062327e-324", b"2.4703282292062328e-324",
        b"0e999999999999",
        b"0." + b"1" * 5000, b"1" * 300 + b"e-299", b"9.5367431640625e-07",
    ],
)  # fmt: skip
def test_s4_a_number_reads_as_python_reads_it(text: bytes) -> None:
    number, size = read(text)
    assert size == len(text)
    assert same(number, expected(text))


@pytest.mark.parametrize(
    "text",
    [
        b"", b"-", b"+1", b"01", b"-01", b"00", b".5", b"1.", b"-.5", b"1.e5", b"1e", b"1e+",
        b"1e-", b"e5",
        b"1e309", b"-1e309", b"1" + b"0" * 309, b"NaN", b"Infinity", b"-Infinity",
    ],
)  # fmt: skip
def test_s4_what_json_does_not_allow_is_refused(text: bytes) -> None:
    assert read(text)[0] is None


@given(st.text("0123456789.eE+-", max_size=30))
def test_s4_a_number_is_read_exactly_as_far_as_json_goes(text: str) -> None:
    """Either all of it is a number, or it stops where none can go on, or it is none."""
    data = text.encode()
    number, size = read(data)
    if number is not None:
        assert same(number, expected(data[:size]))
    if size < len(data):
        assert expected(data) is None


@given(st.integers(0, 10**22), st.integers(-345, 330))
@example(2**53 + 1, 0)
@example(9007199254740993, -3)
def test_s4_digits_times_a_power_of_ten_round_correctly(digits: int, exponent: int) -> None:
    text = b"%de%d" % (digits, exponent)
    number, _ = read(text)
    assert same(number, expected(text))


@given(st.integers(2**52, 2**54), st.integers(-60, 60), st.integers(-1, 1))
def test_s4_the_middle_of_two_doubles_rounds_to_even(
    mantissa: int, exponent: int, step: int
) -> None:
    """Written out in full, so that only the last digit tells."""
    middle = (2 * mantissa + 1) * 10**80 * 2 ** max(exponent, 0) // 2 ** max(-exponent, 0) + step
    text = b"%d.%080d" % divmod(middle, 10**80)
    assert same(read(text)[0], float(text))


@given(st.integers(0, 2**63 - 1))
def test_s4_any_double_is_written_as_repr_does_and_reads_back(bits: int) -> None:
    number = of_bits(bits)
    if math.isfinite(number):
        assert write(number) == repr(number)
        assert write(-number) == repr(-number)
        assert same(read(repr(number).encode())[0], number)


def test_s4_doubles_around_every_power_are_written_as_repr_does() -> None:
    powers = [math.ldexp(1.0, e) for e in range(-1074, 1024)]
    powers += [float(f"{m}e{e}") for e in range(-323, 309) for m in (1, 3, 9) if e < 308 or m == 1]
    for number in (near for power in powers for near in neighbours(power)):
        assert write(number) == repr(number)


@given(st.integers(0, 10**17), st.integers(0, 17))
def test_s4_short_decimals_are_written_short(digits: int, places: int) -> None:
    number = digits / 10**places
    assert write(number) == repr(number)


@given(st.integers(-(2**63), 2**63 - 1))
@example(-(2**63))
def test_an_int_is_written_and_reads_back(number: int) -> None:
    out = ffi.new("char[]", 32)
    text = bytes(ffi.buffer(out, lib.number_write_int(out, number)))
    assert text == b"%d" % number
    assert read(text)[0] == number


# ---- times ----


def read_time(text: str) -> int | None:
    data = text.encode()
    us = ffi.new("int64_t *")
    return int(us[0]) if lib.time_read_rfc3339(ffi.new("char[]", data), len(data), us) else None


def write_time(us: int) -> str | None:
    out, size = ffi.new("char[]", 40), ffi.new("uint32_t *")
    if not lib.time_write_rfc3339(out, us, size):
        return None
    return bytes(ffi.buffer(out, size[0])).decode()


@given(st.datetimes())
@example(datetime(1, 1, 1))
@example(datetime(9999, 12, 31, 23, 59, 59, 999999))
@example(datetime(2000, 2, 29))
def test_s29_a_time_is_written_and_reads_back(moment: datetime) -> None:
    moment = moment.replace(tzinfo=UTC)
    us = (moment - EPOCH) // MICROSECOND
    text = moment.isoformat().replace("+00:00", "Z")
    assert write_time(us) == text
    assert read_time(text) == us


@given(st.datetimes(), st.integers(-1439, 1439), st.sampled_from("Tt "), st.integers(0, 9))
def test_s6_offsets_and_fractions_are_read(
    moment: datetime, offset: int, mark: str, places: int
) -> None:
    zoned = moment.replace(microsecond=0, tzinfo=timezone(timedelta(minutes=offset)))
    us = (zoned.replace(tzinfo=UTC) - EPOCH) // MICROSECOND - offset * 60_000_000
    text = zoned.isoformat(mark)
    digits = f"{moment.microsecond:06}789"[:places]
    fraction = "." + digits if digits else ""
    text = text[:19] + fraction + text[19:]
    assert read_time(text) == us + int(digits.ljust(6, "0")[:6])


@pytest.mark.parametrize(
    "text",
    [
        "", "2026-01-02", "2026-01-02T03:04:05", "2026-01-02T03:04Z", "2026-02-29T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-00-01T00:00:00Z", "2026-04-31T00:00:00Z", "2026-01-00T00:00:00Z",
        "2026-01-02T24:00:00Z",
        "2026-01-02T03:60:00Z", "2026-01-02T03:04:61Z", "2026-01-02T03:04:60Z",
        "2026-01-02T03:04:05.Z",
        "2026-01-02T03:04:05+0100", "2026-01-02T03:04:05+24:00", "2026-01-02T03:04:05+01:60",
        "0000-01-01T00:00:00Z",
        "2026-01-02T03:04:05Z ", "2026-01-02x03:04:05Z", "2O26-01-02T03:04:05Z",
        "2026/01/02T03:04:05Z",
        "1900-02-29T00:00:00Z", "2026-01-02T03:04:05,5Z", "2026-01-02T03:04:05ZZ",
    ],
)  # fmt: skip
def test_s6_what_rfc_3339_does_not_allow_is_refused(text: str) -> None:
    assert read_time(text) is None


@pytest.mark.parametrize("text", ["2016-12-31T23:59:60Z", "2017-01-01T00:59:60+01:00"])
def test_s6_a_leap_second_is_the_first_second_of_the_next_day(text: str) -> None:
    assert read_time(text) == read_time("2017-01-01T00:00:00Z")


def test_s29_a_year_of_five_digits_is_not_written() -> None:
    end = (datetime(9999, 12, 31, tzinfo=UTC) - EPOCH) // MICROSECOND + 86_400_000_000
    assert write_time(end) is None
    assert write_time(end - 1) == "9999-12-31T23:59:59.999999Z"
    start = (datetime(1, 1, 1, tzinfo=UTC) - EPOCH) // MICROSECOND
    assert write_time(start - 1) is None


@given(st.datetimes())
def test_the_civil_calendar_is_datetimes(moment: datetime) -> None:
    us = (moment.replace(tzinfo=UTC) - EPOCH) // MICROSECOND
    civil = ffi.new("civil_t *", lib.civil_from_us(us))
    parts = (civil.year, civil.month, civil.day, civil.hour, civil.minute, civil.second)
    assert parts == moment.timetuple()[:6]
    assert (civil.microsecond, civil.weekday) == (moment.microsecond, moment.weekday())
    assert lib.civil_to_us(civil) == us


@given(st.integers(-(2**63), 2**63 - 1))
@example(-(2**63))
@example(2**63 - 1)
def test_every_moment_of_64_bits_has_a_date_and_comes_back(us: int) -> None:
    civil = ffi.new("civil_t *", lib.civil_from_us(us))
    assert 1 <= civil.month <= 12 and 1 <= civil.day <= 31 and 0 <= civil.weekday <= 6
    assert lib.civil_to_us(civil) == us


# ---- UTF-8 and messages ----


def is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


NEARLY = [
    b"\x7f", b"\x80", b"\xc0\xaf", b"\xc1\xbf", b"\xc2", b"\xe0\x9f\xbf", b"\xed\xa0\x80",
    b"\xed\x9f\xbf", b"\xf0\x8f\xbf\xbf", b"\xf4\x8f\xbf\xbf", b"\xf4\x90\x80\x80",
    b"\xf5\x80\x80\x80", b"\xff", b"\xef\xbf\xbf",
]  # fmt: skip


@given(
    st.lists(
        st.one_of(
            st.text(max_size=12).map(str.encode),
            st.binary(max_size=4),
            st.sampled_from(NEARLY),
        ),
        max_size=4,
    ).map(b"".join)
)
def test_s1_text_is_utf8_exactly_when_python_says_so(data: bytes) -> None:
    block = ffi.from_buffer(bytearray(data)) if data else ffi.new("char[]", 1)
    assert lib.utf8_valid(ffi.cast("char *", block), len(data)) == is_utf8(data)


@given(st.binary(max_size=300).filter(lambda data: b"\0" not in data))
@example("é".encode() * 200)
@example(b"x" * 250 + "é".encode())
@example(b"x" * 249 + "😀".encode())
def test_s3_a_fault_is_cut_to_fit_and_always_utf8(data: bytes) -> None:
    fault = ffi.new("fault_t *")
    text = ffi.new("char[]", data)
    assert not lib.fault_set(fault, lib.REASON_PYTHON, b"%s", ffi.cast("char *", text))
    message = bytes(ffi.string(fault.message))
    assert fault.reason == lib.REASON_PYTHON
    message.decode()
    if is_utf8(data):
        assert data.startswith(message)
        assert message == data or len(message) > 251 - 4


def test_every_reason_has_a_name() -> None:
    names = [ffi.string(lib.reason_name(reason)).decode() for reason in range(lib.REASON_COUNT)]
    assert names == [
        "none", "frame", "decode", "schema", "time", "expression", "key", "aggregate", "python",
        "encode", "limit",
        "stuck", "unfinished",
    ]  # fmt: skip
    assert ffi.string(lib.reason_name(lib.REASON_COUNT)) == b"unknown"
