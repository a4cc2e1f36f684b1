"""The JSON decoder against the standard library's, on valid, mutated and hostile input (S4).

Known differences, all on our side of the standard: NaN and infinities are not JSON, half a
surrogate pair is no character, an int beyond 64 bits is a float, a number beyond all floats is an
error, nesting ends at 64."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from appliance.native import ffi, lib
from native.values import MISSING, SLACK, SLOT_NONE, Arena, message, packed, shown

DEPTH_MAX = 64


class Source:
    """Decodes into the slots 0, 1, … of the wanted fields; the one behind gets the record."""

    def __init__(self, wanted: Sequence[str] = (), whole: bool = False) -> None:
        self.wanted = list(wanted)
        self.fault = ffi.new("fault_t *")
        self.row = ffi.new("value_t[]", len(wanted) + 1)
        items = [[name, slot, 0, False] for slot, name in enumerate(wanted)]
        value, _memory = packed(items)
        fields = lib.fields_new(value, len(wanted) if whole else SLOT_NONE, self.fault)
        self.fields = ffi.gc(fields, lambda it: lib.fields_destroy(ffi.new("fields_t **", it)))
        self.scratch = Arena()

    def decode(self, data: bytes, behind: bytes = b"\n") -> bool:
        """`behind` is what follows in the buffer; not one byte beyond the slack is readable."""
        self.block = ffi.from_buffer(bytearray((data + behind * SLACK)[: len(data) + SLACK]))
        self.scratch.arena.used = 0
        text = ffi.cast("char *", self.block)
        done = lib.json_decode(
            self.fields, text, len(data), self.row, self.scratch.arena, self.fault
        )
        assert bytes(ffi.buffer(self.block))[: len(data)] == data, "the message has changed"
        assert bytes(ffi.buffer(self.block))[len(data) :] == (behind * SLACK)[:SLACK]
        return bool(done)

    def decode_line(self, data: bytes, stale: bytes) -> tuple[int, int]:
        """How the line at the front of `data` went, and its size; `stale` is what an earlier read
        has left behind what is there now."""
        self.block = ffi.from_buffer(bytearray(data + b"\n" + stale + bytes(SLACK)))
        self.scratch.arena.used = 0
        text, size = ffi.cast("char *", self.block), ffi.new("uint32_t *")
        got = lib.json_decode_line(
            self.fields, text, text + len(data), size, self.row, self.scratch.arena, self.fault
        )
        assert bytes(ffi.buffer(self.block))[: len(data)] == data, "the buffer has changed"
        return got, size[0]

    def record(self) -> dict[str, Any]:
        """The wanted fields that are there."""
        values = {name: shown(self.row[slot]) for slot, name in enumerate(self.wanted)}
        return {name: value for name, value in values.items() if value is not MISSING}

    def whole(self) -> Any:
        return shown(self.row[len(self.wanted)])

    def refusal(self, data: bytes) -> str:
        assert not self.decode(data)
        return message(self.fault)


class Refused(Exception):
    pass


def within(thing: Any, depth: int = 1) -> None:
    """Our rules, on top of the library's."""
    if isinstance(thing, str) and any(0xD800 <= ord(character) <= 0xDFFF for character in thing):
        raise Refused
    if isinstance(thing, float) and math.isinf(thing):
        raise Refused
    if isinstance(thing, dict | list) and depth > DEPTH_MAX:
        raise Refused
    if isinstance(thing, list):
        for item in thing:
            within(item, depth + 1)


def standard(data: bytes) -> dict[str, Any]:
    """The standard library's reading, held to the same rules."""

    def refuse(_: str) -> None:
        raise Refused

    def integer(text: str) -> int | float:
        number = int(text) if len(text) < 4000 else math.inf
        return number if -(2**63) <= number < 2**63 else float(number)

    def pairs(members: list[tuple[str, Any]]) -> dict[str, Any]:
        # Here, and not on the result: a value that a later one replaces must be right, too.
        for name, value in members:
            within(name)
            within(value)
        return dict(members)

    try:
        thing = json.loads(
            data.decode(),
            object_pairs_hook=pairs,
            parse_int=integer,
            parse_constant=refuse,
        )
    except (ValueError, OverflowError, RecursionError) as error:
        raise Refused from error
    if not isinstance(thing, dict) or depth(thing) > DEPTH_MAX:
        raise Refused
    return thing


def depth(thing: object) -> int:
    if isinstance(thing, dict | list):
        items = thing.values() if isinstance(thing, dict) else thing
        return 1 + max(map(depth, items), default=0)
    return 0


# ---- input ----

NAMES = st.one_of(
    st.sampled_from(
        ["device", "ts", "temp", "status", "a longer name", "eight888", "seven77", "é"]
    ),
    st.sampled_from(['a"b', "tab\t", "", "dev", "devices"]),
    st.text(max_size=3),
)
VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**70), 2**70),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=12),
        st.sampled_from(["\\", '"', "\x7f", "é", "😀", "x" * 40, "\u2028"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=18), st.dictionaries(NAMES, inner, max_size=18)
    ),
    max_leaves=12,
)
PIECES = st.one_of(
    st.sampled_from(
        b'{ } [ ] : , " [[ {} [] ]] true false null nul tru /**/'
        b" \\ \\u \\ud83d \\ude00 \\u00e9 \\n \\x \\/ '"
        b" - + . e 0 1 00 -0 1. .5 1e5 1e999 18446744073709551616 NaN Infinity -Infinity".split()
    ),
    st.sampled_from([b" ", b"\n", b"\r\n", b"\t", b"\0", b"\x1f", b"\x7f", b"\x0b", b"\xc2\xa0"]),
    st.sampled_from(
        [b"\xff", b"\xc3", b"\xa9", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xef\xbb\xbf"]
    ),
    st.binary(min_size=1, max_size=2),
)


def spelled(name: str, escaped: bool) -> str:
    """A name, maybe with every character as an escape."""
    units = name.encode("utf-16-be")
    codes = [units[at : at + 2].hex() for at in range(0, len(units), 2)]
    return '"' + "".join(f"\\u{code}" for code in codes) + '"' if escaped else json.dumps(name)


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """An object, its names maybe repeated or escaped, with more or less space in it."""
    members = draw(st.lists(st.tuples(NAMES, VALUES, st.booleans()), max_size=20))
    ascii_only, indent = draw(st.booleans()), draw(st.sampled_from([None, None, 1]))
    space = draw(st.sampled_from(["", " ", "\r\n\t "]))
    parts = [
        spelled(name, escaped)
        + f"{space}:{space}"
        + json.dumps(value, ensure_ascii=ascii_only, indent=indent)
        for name, value, escaped in members
    ]
    text = space + "{" + space + f"{space},{space}".join(parts) + space + "}" + space
    return text.encode()


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """One to three places of a message cut out, replaced or added to."""
    data = draw(messages())
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(data)))
        cut = draw(st.integers(0, 3))
        data = data[:place] + draw(st.one_of(PIECES, st.just(b""))) + data[place + cut :]
    return data


BEHIND = st.sampled_from([b"\n", b"\0", b"}", b'"', b"7", b"\r\n", b" ", b"\\", b"\xff", b"\t"])


def agree(data: bytes, wanted: list[str], behind: bytes) -> None:
    """All of one mind: the library, the decoder of some fields, of all, and of nothing."""
    some, whole, nothing = Source(wanted), Source(wanted, whole=True), Source()
    try:
        record = standard(data)
    except Refused:
        for source in (some, whole, nothing):
            assert "byte" in source.refusal(data)
            assert source.fault.reason == lib.REASON_DECODE
        return
    expected = {name: record[name] for name in wanted if name in record}
    for _ in range(2):  # the second time in the order learnt from the first
        for source in (some, whole, nothing):
            assert source.decode(data, behind), (message(source.fault), data)
        assert repr(some.record()) == repr(expected)
        assert repr(whole.record()) == repr(expected)
        assert repr(whole.whole()) == repr(record)


WANTED = st.lists(NAMES, max_size=6, unique=True)


@given(messages(), WANTED, BEHIND)
@example(b'{"a":1,"a":null,"b":[1,{"c":2,"c":3}],"a":"x"}', ["a", "b"], b"\n")
@example(b'{"' + b'":1,"'.join(b"%d" % i for i in range(40)) + b'":1,"7":2}', ["7", "3"], b"\n")
def test_s4_what_json_allows_is_read_as_the_standard_library_reads_it(
    data: bytes, wanted: list[str], behind: bytes
) -> None:
    agree(data, wanted, behind)


@given(mutated(), WANTED, BEHIND)
def test_s4_mutated_input_is_accepted_or_refused_as_by_the_standard_library(
    data: bytes, wanted: list[str], behind: bytes
) -> None:
    agree(data, wanted, behind)


@given(
    st.lists(st.one_of(messages(), mutated()), min_size=1, max_size=3),
    WANTED,
    st.binary(max_size=9),
)
@example([b'{"a":1,', b'"b":2}'], ["a", "b"], b'"b":3}\n')
@example([b'{"a":"x"}', b""], ["a"], b"}\n")
@example([b'{"a":7', b""], ["a"], b"7}\n")
@example([b'{"a":1}\r', b""], ["a"], b"")
@example([b'{"a":1}\r'], ["a"], b"\n")
@example([b'{"a":12345678', b""], ["a"], b"90}\n")
def test_a_line_that_is_framed_as_it_is_decoded_is_the_same(
    lines: list[bytes], wanted: list[str], stale: bytes
) -> None:
    data = b"\n".join(lines)
    at_once, framed = Source(wanted), Source(wanted)
    for _ in range(2):  # the second time in the order learnt from the first
        got, size = at_once.decode_line(data, stale)
        line, end, _rest = data.partition(b"\n")
        if not (end and line.startswith(b"{")):
            assert got == lib.DECODED_NOTHING
            return
        line = line.removesuffix(b"\r")
        assert size == len(line)
        if framed.decode(line):
            assert got == lib.DECODED_ROW
            assert repr(at_once.record()) == repr(framed.record())
        else:
            assert got == lib.DECODED_FAULT
            assert message(at_once.fault) == message(framed.fault)
            assert at_once.fault.reason == framed.fault.reason


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "[]",
        "7",
        '"a"',
        "null",
        "{",
        "}",
        '{"a"}',
        '{"a":}',
        '{"a":1',
        '{"a":1,}',
        '{,"a":1}',
        "{a:1}",
        "{'a':1}",
        '{"a":1}}',
        '{"a":1} x',
        '{"a":1}{"b":2}',
        '{"a":01}',
        '{"a":1.}',
        '{"a":+1}',
        '{"a":.5}',
        '{"a":NaN}',
        '{"a":Infinity}',
        '{"a":-Infinity}',
        '{"a":1e999}',
        '{"a":tru}',
        '{"a":truex}',
        '{"a":nul',
        '{"a":"x',
        '{"a":"\\',
        '{"a":"\\u12',
        '{"a":"\\u12g4"}',
        '{"a":"\\x41"}',
        '{"a":"\\ud800"}',
        '{"a":"\\udc00"}',
        '{"a":"\\ud800\\u0041"}',
        '{"a":"tab\there"}',
        '{"a":"nul\x00"}',
        '{"a":[1,]}',
        '{"a":[1 2]}',
        '{"a":[}',
        '{"a":{"b":1,}}',
        '{"a":{"b"}}',
        '{"a":{1:2}}',
        '{"\\ud800":1}',
        '{"a":1;"b":2}',
        '\ufeff{"a":1}',
        '{"a":\x0b1}',
        '{"a":1}\x00',
        '{"\n":1}',
        '{"a":[[[]}',
        '{"b":[],"a":"\\q"}',
    ],
)
def test_s4_what_json_does_not_allow_is_refused_wanted_or_not(text: str) -> None:
    agree(text.encode(), ["a"], b"\n")
    agree(text.encode(), ["z"], b"}")
    with pytest.raises(Refused):
        standard(text.encode())


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":"\xff"}',
        b'{"a":"\xc3"}',
        b'{"\xff":1}',
        b'{"a":["\xed\xa0\x80"]}',
        b'{"a":"\\n\xc3\\n"}',
    ],
)
def test_s1_text_that_is_not_utf8_is_refused_wanted_or_not(text: bytes) -> None:
    agree(text, ["a"], b"\n")
    agree(text, [], b"\xa9")
    assert "UTF-8" in Source(["a"]).refusal(text)


def nested(count: int, opening: str = '{"a":', closing: str = "}") -> bytes:
    """A record with so many containers in it, one in the other."""
    return ('{"a":' + opening * count + "1" + closing * count + "}").encode()


@pytest.mark.parametrize("opening", ['{"a":', "["])
def test_nesting_ends_at_64(opening: str) -> None:
    closing = "}" if opening[0] == "{" else "]"
    deepest = nested(DEPTH_MAX - 1, opening, closing)
    agree(deepest, ["a"], b"\n")
    assert Source(["a"]).decode(deepest)
    for source in (Source(["a"]), Source(["b"]), Source(["a"], whole=True)):
        assert "deeply" in source.refusal(nested(DEPTH_MAX, opening, closing))
        assert "deeply" in source.refusal(nested(100_000, opening, closing))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "byte 0: expected an object, found the end"),
        (b"[1]", "byte 0: expected an object, found '['"),
        (b'{"a" 1}', "byte 5: expected ':', found '1'"),
        (b'{"a":1 "b":2}', "byte 7: expected ',' or '}', found '\"'"),
        (b'{"a":1,}', "byte 7: expected a name in quotes, found '}'"),
        (b'{"a":\x01}', "byte 5: expected a value, found byte 0x01"),
        (b'{"a":1} x', "byte 8: expected the end of the record, found 'x'"),
        (b'{"a":"x', "byte 7: expected the rest of a string, found the end"),
        (b'{"a":01}', "byte 5: a number that JSON does not allow"),
        (b'{"a":"\\q"}', "byte 6: an escape that JSON does not have"),
    ],
)
def test_s3_a_fault_says_what_was_found_and_where(text: bytes, said: str) -> None:
    assert Source(["a"]).refusal(text) == f"not JSON at {said}"
    assert Source(["a"], whole=True).refusal(text) == f"not JSON at {said}"


def test_a_last_null_wins_over_an_earlier_value_and_an_absent_field_stays_missing() -> None:
    source = Source(["a", "b", "c"])
    assert source.decode(b'{"a":1,"b":null,"a":null}')
    assert [source.row[slot].tag for slot in range(3)] == [
        lib.TAG_NULL,
        lib.TAG_NULL,
        lib.TAG_MISSING,
    ]


def test_a_name_that_only_begins_like_a_wanted_one_is_another() -> None:
    long = "a name of more than eight bytes " * 5
    source = Source(["dev", "eight888", long])
    assert source.decode(
        json.dumps({"device": 1, "eight8889": 2, "eight88": 3, long[:-1]: 4, long: 5}).encode()
    )
    assert source.record() == {long: 5}
    assert not source.decode(b'{"' + long.encode()[:100])


def test_a_record_beyond_the_scratch_memory_is_refused_as_such() -> None:
    data = json.dumps({"a": ["some text"] * 100, "b": "\n" * 300}).encode()
    for wanted, whole in [(["a"], False), (["b"], False), ([], True)]:
        source = Source(wanted, whole)
        source.scratch = Arena(size=256)
        assert "scratch" in source.refusal(data)
        assert source.fault.reason == lib.REASON_LIMIT
        assert source.scratch.arena.used <= 256


def test_scratch_of_any_size_is_never_left() -> None:
    """Every size from none on: refused or right, and not a byte beyond it (the sanitizers look)."""
    record = {"a": ["x" * 40, -1.5, {"b": list(range(20))}], "é\n": "\u2028\t" * 9, "a2": "y" * 300}
    data = json.dumps(record).encode()
    decoded = 0
    for size in range(0, 1400, 3):
        for source in (Source(["a", "é\n"]), Source(["a2"], whole=True)):
            source.scratch = Arena(size=size)
            if source.decode(data):
                decoded += 1
                assert source.record() == {name: record[name] for name in source.wanted}
            else:
                assert source.fault.reason == lib.REASON_LIMIT
    assert decoded > 100


def test_hostile_names_cost_no_more_than_sorting_them() -> None:
    """Thirty thousand members with one name, then as many with different ones."""
    same = b'{"a":{' + b",".join(b'"b":%d' % i for i in range(30_000)) + b"}}"
    other = b'{"a":{' + b",".join(b'"%d":1' % i for i in range(30_000)) + b"}}"
    source = Source(["a"])
    source.scratch = Arena(size=4 << 20)
    assert source.decode(same)
    assert source.record() == {"a": {"b": 29_999}}
    assert source.decode(other)
    assert len(source.record()["a"]) == 30_000
