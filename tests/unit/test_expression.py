"""Expressions as they are written: text, columns, canonical text, faults at their place."""

from __future__ import annotations

import pytest

from appliance.errors import EXIT_FLOW, Place
from appliance.expression import (
    AggregateCall,
    Binary,
    Boolean,
    Column,
    Compare,
    Constant,
    ExpressionError,
    Field,
    Get,
    Node,
    aggregate_to_text,
    as_node,
    col,
    fields_of,
    parse,
    parse_aggregate,
    to_text,
    when,
)
from appliance.expression import functions as f
from appliance.expression.library import FUNCTIONS
from appliance.limits import EXPRESSION_DEPTH_MAX_COUNT, EXPRESSION_TEXT_MAX_COUNT


def fault(text: str, place: Place = Place()) -> str:  # noqa: B008 (a frozen value)
    with pytest.raises(ExpressionError) as caught:
        parse(text, place)
    return caught.value.fault.render()


# ---- text to nodes and back ----


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ('status=="ok" and temp>15', 'status == "ok" and temp > 15'),
        ("round(temp*1.8+32,1)", "round(temp * 1.8 + 32, 1)"),
        ("a.b[0].c", "a.b[0].c"),
        ('a["b"]["c d"]', 'a.b["c d"]'),
        ("'err' in tags", '"err" in tags'),
        ("x if ok else y if no else z", "x if ok else y if no else z"),
        ("(x if ok else y) if no else z", "(x if ok else y) if no else z"),
        ("(a and b) and c", "a and b and c"),
        ("a and (b or c)", "a and (b or c)"),
        ("not (a == b)", "not a == b"),
        ("not a and b", "not a and b"),
        ("not (a and b)", "not (a and b)"),
        ("a < b <= c", "a < b <= c"),
        ("(a < b) == c", "(a < b) == c"),
        ("a in ('x', 'y')", 'a in ["x", "y"]'),
        ("a - (b - c)", "a - (b - c)"),
        ("(a - b) - c", "a - b - c"),
        ("a ** b ** c", "a ** b ** c"),
        ("(a ** b) ** c", "(a ** b) ** c"),
        ("-5 ** 2", "-5 ** 2"),
        ("(-5) ** 2", "(-5) ** 2"),
        ("2 ** -1", "2 ** -1"),
        ("- - 5", "5"),
        ("-a", "-a"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("1e3", "1000.0"),
        ("s[1:] + s[:2] + s[:]", "s[1:] + s[:2] + s[:]"),
        ("(a + b).c", "(a + b).c"),
        ("(5).a", "(5).a"),
        ('{"a": 1, "b c": [x, None]}', '{"a": 1, "b c": [x, None]}'),
        ('"a\\n\\"\\u2028é"', '"a\\n\\"\\u2028é"'),
        ('b"\\x00a"', "b'\\x00a'"),
        ('field("a b") + field("a")', 'field("a b") + a'),
        ('field("class").x + field("true")', 'field("class").x + field("true")'),
        ("µs + 1", "µs + 1"),
        ("a.ﬁn", "a.ﬁn"),
        ("  a # a comment\n  and\n  b ", "a and b"),
        ('format("{} {:.2f}", a, b)', 'format("{} {:.2f}", a, b)'),
    ],
)
def test_text_has_one_canonical_form(text: str, canonical: str) -> None:
    """S2; `parse` and `to_text` are inverse."""
    node = parse(text)
    assert to_text(node) == canonical
    assert parse(canonical) == node


def test_a_name_is_kept_as_it_is_written() -> None:
    """Python itself would turn the micro sign into a Greek letter."""
    assert parse("\u00b5s") == Field("\u00b5s")
    assert parse("x.\u00b5s") == Get(Field("x"), Constant("\u00b5s"))


def test_the_fields_of_an_expression_are_top_level_names() -> None:
    assert fields_of(parse('a.b + c[d] + len("e") + field("f g")')) == {"a", "c", "d", "f g"}


def test_constants_of_different_types_differ() -> None:
    assert len({Constant(1), Constant(1.0), Constant(True), Constant(0.0), Constant(-0.0)}) == 5
    assert Constant(1) != Constant(True)
    assert Constant("a") == Constant("a")


# ---- columns ----


@pytest.mark.parametrize(
    ("column", "text"),
    [
        ((col.status == "ok") & (col.temp > 15), 'status == "ok" and temp > 15'),
        ((col.a == 1) & (col.b == 2) & (col.c == 3), "a == 1 and b == 2 and c == 3"),
        ((col.a | col.b) & ~col.c, "(a or b) and not c"),
        (col["a b"] * 1.8 + 32, 'field("a b") * 1.8 + 32'),
        (1 - col.x, "1 - x"),
        (2**col.x / 3 // 4 % 5, "2 ** x / 3 // 4 % 5"),
        (-col.x + (+col.y), "-x + +y"),
        (col.a.b[0]["c d"], 'a.b[0]["c d"]'),
        (col.s[1:3], "s[1:3]"),
        (col.s[: f.len(col.t)], "s[:len(t)]"),
        (col.x.isin(["a", "b"]), 'x in ["a", "b"]'),
        (col.x.isin({"b", "a"}), 'x in ["a", "b"]'),
        (f.round(col.x * 2, 1), "round(x * 2, 1)"),
        (f.contains(col.tags, "err"), 'contains(tags, "err")'),
        (when(col.ok, "yes", None), '"yes" if ok else None'),
        (col._source == "x", '_source == "x"'),
        (True & (col.a > 1), "True and a > 1"),
        (f.abs(15) < col.a, "abs(15) < a"),
    ],
)
def test_columns_build_the_nodes_of_the_text(column: Column, text: str) -> None:
    assert as_node(column) == parse(text)
    assert repr(column) == f"<column {text}>"


def test_constants_become_nodes_and_a_text_stays_a_text() -> None:
    assert as_node("a + b") == Constant("a + b")
    assert as_node([1, {"k": col.x}]) == parse('[1, {"k": x}]')
    node: Node = Field("x")
    assert as_node(node) is node
    for value, error in [(object(), TypeError), (2**63, ValueError), (float("nan"), ValueError)]:
        with pytest.raises(error):
            as_node(value)


def test_what_python_would_do_by_itself_is_refused_with_a_remedy() -> None:
    with pytest.raises(TypeError, match=r"write when\(condition, a, b\)"):
        bool(col.x > 1)
    with pytest.raises(TypeError, match=r"\(col.a > 1\) & \(col.b > 2\)"):
        _ = col.a > 1 & col.b > 2
    with pytest.raises(TypeError, match="isin"):
        _ = "x" in col.tags
    with pytest.raises(TypeError, match="is_null"):
        _ = col.x == None  # noqa: E711 (that is the point)
    with pytest.raises(TypeError, match="no methods"):
        col.x.lower()
    with pytest.raises(TypeError, match="iterated"):
        list(col.x)
    with pytest.raises(AttributeError, match="did you mean lower"):
        f.lowr(col.x)
    with pytest.raises(ExpressionError, match="is int or float, not str"):
        f.round("a")


# ---- faults ----

PLACE = Place("flow.toml", 7, 10, "where = 'temp = 15'")


@pytest.mark.parametrize(
    ("text", "message", "remedy"),
    [
        ("temp = 15", "= sets nothing here", "write == to compare"),
        ("(x := 1)", "an expression sets nothing", "set"),
        ("a && b", "&& is not part", "write `and`"),
        ("a || b", "|| is not part", "write `or`"),
        ("a & b", "this operator", "write `and`"),
        ("!a", "! is not part", "write `not`"),
        ("~a", "~ is not part", "write `not`"),
        ("a <> b", "<> is not part", "write !="),
        ("a AND b", "AND is not a word", "write `and`"),
        ("x is None", "a comparison with None is always null", "write is_null(x)"),
        ("x == None", "a comparison with None is always null", "write is_null(x)"),
        ("x is y", "`is` is not part", "write =="),
        ("true", "true is no constant", "write True"),
        ("lowr(x)", "there is no function lowr()", "did you mean lower()?"),
        ("x.lower()", "no methods", "write lower(x), not x.lower()"),
        ("x.foo()", "no methods", "lower(x)"),
        ("round(x, digits=1)", "no named arguments", "in order"),
        ("round()", "round() got 0 arguments", "write round(x)"),
        ("round('a')", "argument 1 of round() is int or float, not str", "write round(x)"),
        ("mean(x)", "mean() is an aggregate", "`aggregate`"),
        ("lambda x: x", "functions cannot be made", "Python step"),
        ("[a for a in b]", "no loops", "Python step"),
        ("f'{x}'", "f-strings", 'format("'),
        ("(a, b)", "a tuple", "[a, b]"),
        ("a[::2]", "no step", "x[start:stop]"),
        ("{a: 1}", "a key of a map", '{"a": x}'),
        ("{'a': 1, 'a': 2}", "twice", ""),
        ("9223372036854775808", "does not fit 64 bits", "2**63 - 1"),
        ("1e999", "too large for a float", ""),
        ("'\\ud800'", "surrogate", ""),
        ("1j", "this constant", ""),
        ("'\\d'", "invalid escape sequence", ""),
        ("a) + (b", "this ) closes nothing", "leave it out"),
        ("round(x", "this ( is never closed", "close it"),
        ("", "an expression is missing", ""),
        ("a +", "this is no expression", ""),
        ("a b", "this is no expression", ""),
        ("[*a]", "* is not part", "one by one"),
        ("print(*a)", "", ""),
        ("a.class", "this is no expression", ""),
        ("field(a)", "field() takes one constant text", 'field("a b")'),
        ('format("{:q}", a)', "{:q} is not known in a template", ""),
        ('format("{} {}", a)', "2 places for values, format() got 1", ""),
        ('format("{", a)', "a single {", "{{"),
        ("format(a, b)", "a constant text", ""),
        ('to_time(x, "min")', "'min' is no unit", '"ms"'),
        ('truncate_time(x, "1x")', "not a duration", "10s"),
        ('truncate_time(x, "0s")', "above zero", ""),
        ('format_time(x, "%Q")', "%Q is not known", "%Y"),
        ("min(1)", "a list", "min(a, b)"),
        ("a\x00b", "", ""),
    ],
)
def test_faults_say_what_is_wrong_and_what_to_write(text: str, message: str, remedy: str) -> None:
    rendered = fault(text, PLACE)
    assert rendered.startswith("flow.toml:7")
    assert message in rendered
    assert remedy in rendered


def test_a_fault_stands_at_its_column() -> None:
    with pytest.raises(ExpressionError) as caught:
        parse("temp = 15", PLACE)
    assert caught.value.fault.place == PLACE.moved(5)
    assert caught.value.code == EXIT_FLOW
    assert "\n    where = 'temp = 15'\n                  ^\n" in caught.value.fault.render()


def test_columns_count_characters_not_bytes() -> None:
    with pytest.raises(ExpressionError) as caught:
        parse('"é😀" + lowr(x)', Place("f", 1, 1, "…"))
    assert caught.value.fault.place.column == 8


def test_a_fault_on_a_later_line_shows_that_line() -> None:
    with pytest.raises(ExpressionError) as caught:
        parse("a and\n  lowr(b)", PLACE)
    place = caught.value.fault.place
    assert (place.line, place.column, place.text) == (8, 3, "  lowr(b)")


def test_without_a_place_the_expression_itself_is_shown() -> None:
    assert "    a + lowr(b)\n        ^\n" in fault("a + lowr(b)")


def test_size_and_depth_are_bounded() -> None:
    most = EXPRESSION_DEPTH_MAX_COUNT
    assert to_text(parse("-" * (most - 1) + "a")) == "-" * (most - 1) + "a"
    assert "nested too deeply" in fault("-" * most + "a")
    assert "nested too deeply" in fault("+".join("a" * (most + 1)))
    assert "nested" in fault("(" * 5000 + "a" + ")" * 5000)
    assert "nested" in fault("-" * 15_000 + "a")
    assert "longer than" in fault("a" * (EXPRESSION_TEXT_MAX_COUNT + 1))
    assert "too long" in fault(f"[{', '.join(['1'] * 5000)}]")
    assert "at most 255" in fault(f"[{', '.join(['a'] * 256)}]")


def test_every_function_has_a_line_and_a_signature() -> None:
    for name, function in FUNCTIONS.items():
        assert function.signature.startswith(f"{name}(")
        assert function.doc
        assert function.required <= function.arguments_max


# ---- aggregates ----


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("count()", AggregateCall("count")),
        ("count(x)", AggregateCall("count", Field("x"))),
        ("mean(temp, where = ok)", AggregateCall("mean", Field("temp"), where=Field("ok"))),
        ("count(where=ok)", AggregateCall("count", where=Field("ok"))),
        ("max_by(x, y)", AggregateCall("max_by", Field("x"), by=Field("y"))),
        ("ema(t, 0.5)", AggregateCall("ema", Field("t"), alpha=0.5)),
        ("ema(t, 1)", AggregateCall("ema", Field("t"), alpha=1.0)),
        ("lag(t)", AggregateCall("lag", Field("t"), n=1)),
        ("lag(t, 3)", AggregateCall("lag", Field("t"), n=3)),
        ("changed(t)", AggregateCall("changed", Field("t"))),
        (
            "sum(a * 2, where = b > 1)",
            AggregateCall(
                "sum",
                Binary("*", Field("a"), Constant(2)),
                where=Compare(Field("b"), (">",), (Constant(1),)),
            ),
        ),
        (
            "any(a and b)",
            AggregateCall("any", Boolean("and", (Field("a"), Field("b")))),
        ),
    ],
)
def test_aggregates_are_read_and_written_back(text: str, expected: AggregateCall) -> None:
    """S17, S12."""
    assert parse_aggregate(text) == expected
    assert parse_aggregate(aggregate_to_text(expected)) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("median(x)", "median() is not available in this version"),
        ("quantile(x, 0.9)", "quantile() is not available in this version"),
        ("distinct(x)", "not available"),
        ("collect(x, 5)", "not available"),
        ("avg(x)", "there is no aggregate avg()"),
        ("meen(x)", "did you mean mean()?"),
        ("mean()", "write mean(x)"),
        ("mean(x, y)", "write mean(x)"),
        ("ema(x)", "alpha"),
        ("ema(x, 2)", "alpha"),
        ("ema(x, True)", "alpha"),
        ("lag(x, 0)", "n from 1"),
        ("lag(x, y)", "n from 1"),
        ("max_by(x)", "write max_by(x, by)"),
        ("mean(x, when = ok)", "no argument when"),
        ("mean(x, where = )", "no expression"),
        ("round(mean(x), 1)", "an aggregate stands alone"),
        ("mean(x) + 1", "an aggregate stands alone"),
        ("x", "write count()"),
        ("mean(lowr(x))", "did you mean lower()?"),
        ("mean(*x)", "write mean(x)"),
    ],
)
def test_wrong_aggregates_are_refused(text: str, message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse_aggregate(text, PLACE)
    assert message in caught.value.fault.render()


def test_running_aggregates_have_no_place_in_a_window() -> None:
    assert parse_aggregate("ema(x, 0.1)", running=True).kind == "ema"
    with pytest.raises(ExpressionError, match="put it into `running`"):
        parse_aggregate("ema(x, 0.1)", running=False)
