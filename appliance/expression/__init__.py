"""Expressions over the fields of a record (S2, S24): read from text or built with columns, and
written back.

    parse('status == "ok" and temp > 15')             text to nodes
    as_node((col.status == "ok") & (col.temp > 15))   columns to the same nodes
    to_text(node)                                     nodes to canonical text
    parse_aggregate("mean(temp, where = ok)")         the aggregates of S17 and S12

Nothing here computes anything: `appliance.plan.code` compiles nodes for the native machine.
"""

from __future__ import annotations

from appliance.expression.aggregate import AggregateCall, aggregate_to_text, parse_aggregate
from appliance.expression.column import Column, as_node, col, when
from appliance.expression.faults import ExpressionError
from appliance.expression.nodes import (
    Binary,
    Boolean,
    Call,
    Compare,
    Conditional,
    Constant,
    Field,
    Get,
    ListLiteral,
    MapLiteral,
    Node,
    Not,
    Scalar,
    Slice,
    Unary,
    children,
    fields_of,
    walk,
)
from appliance.expression.parse import parse
from appliance.expression.text import to_text

__all__ = [
    "parse",
    "to_text",
    "fields_of",
    "children",
    "walk",
    "ExpressionError",
    "col",
    "when",
    "Column",
    "as_node",
    "AggregateCall",
    "parse_aggregate",
    "aggregate_to_text",
    "Node",
    "Scalar",
    "Constant",
    "Field",
    "Get",
    "Slice",
    "Unary",
    "Binary",
    "Compare",
    "Boolean",
    "Not",
    "Conditional",
    "Call",
    "ListLiteral",
    "MapLiteral",
]
