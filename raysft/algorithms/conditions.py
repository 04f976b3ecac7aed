"""A small language of conditions over numeric columns, such as `perplexity < q(perplexity, 0.9)`.

Allowed: column names; numbers; `q(column, p)`, the p-quantile of a column (linear between values) over
the rows that have it; comparisons `< <= > >= == !=`, also chained; `and`, `or`, `not`; parentheses. The
text is parsed, never evaluated as Python.

A comparison with a missing value (null or NaN) is unknown; `and`, `or` and `not` treat unknown as SQL
does (Kleene), and a row for which the whole condition is unknown fails.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

ALLOWED = (
    "allowed are column names, numbers, q(column, 0.9), the comparisons < <= > >= == !=, "
    "and, or, not, and parentheses"
)
COMPARE: dict[type[ast.cmpop], Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
}
Columns = Mapping[str, np.ndarray]
Quantile = tuple[str, float]
# (true, false) masks; a row in neither is unknown
Truth = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Condition:
    """A parsed condition. `columns` and `quantiles` are those it names, in the order they stand there."""

    text: str
    columns: tuple[str, ...]
    quantiles: tuple[Quantile, ...]

    def thresholds(self, columns: Columns) -> dict[Quantile, float]:
        """The value of each quantile over float64 columns; NaN where no row has the column."""
        return {(name, p): _quantile(columns[name], p) for name, p in self.quantiles}

    def holds(self, columns: Columns, thresholds: Mapping[Quantile, float]) -> np.ndarray:
        """bool [rows]: True where the condition is known to hold. NaN in a column means missing."""
        rows = len(next(iter(columns.values())))
        return _truth(_parse(self.text), columns, thresholds, rows)[0]


def parse(text: str) -> Condition:
    """Parse and check a condition.

    Raises:
        ValueError: it is no condition; says which part, where, and what is allowed.
    """
    body = _parse(text)
    names: dict[str, None] = {}
    quantiles: dict[Quantile, None] = {}
    _check_truth(body, text, names, quantiles)
    if not names:
        raise ValueError(f"condition {text!r} names no column; {ALLOWED}")
    return Condition(text, tuple(names), tuple(quantiles))


def _parse(text: str) -> ast.expr:
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise ValueError(f"condition {text!r} cannot be read ({reason}); {ALLOWED}") from error


def _refuse(node: ast.AST, text: str, why: str) -> ValueError:
    piece = ast.get_source_segment(text.strip(), node) or type(node).__name__
    return ValueError(f"condition {text!r}: {piece!r} {why}; {ALLOWED}")


def _check_truth(node: ast.expr, text: str, names: dict[str, None], quantiles: dict[Quantile, None]) -> None:
    if isinstance(node, ast.BoolOp):
        for value in node.values:
            _check_truth(value, text, names, quantiles)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        _check_truth(node.operand, text, names, quantiles)
    elif isinstance(node, ast.Compare):
        for operator in node.ops:
            if type(operator) not in COMPARE:
                raise _refuse(node, text, "uses a comparison that is not known")
        for value in (node.left, *node.comparators):
            _check_number(value, text, names, quantiles)
    else:
        raise _refuse(node, text, "is no comparison")


def _check_number(node: ast.expr, text: str, names: dict[str, None], quantiles: dict[Quantile, None]) -> None:
    if isinstance(node, ast.Name):
        names[node.id] = None
    elif isinstance(node, ast.Call):
        quantile = _quantile_of(node)
        if quantile is None:
            raise _refuse(node, text, "is no q(column, p) with p between 0 and 1")
        names[quantile[0]] = None
        quantiles[quantile] = None
    elif _number_of(node) is None:
        raise _refuse(node, text, "is neither a column, a number nor a quantile")


def _number_of(node: ast.expr) -> float | None:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = _number_of(node.operand)
        return None if value is None else (-value if isinstance(node.op, ast.USub) else value)
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        try:
            return float(node.value)  # type: ignore[arg-type]
        except OverflowError:
            return None
    return None


def _quantile_of(node: ast.Call) -> Quantile | None:
    is_q = isinstance(node.func, ast.Name) and node.func.id == "q"
    if not is_q or len(node.args) != 2 or node.keywords or not isinstance(node.args[0], ast.Name):
        return None
    p = _number_of(node.args[1])
    return None if p is None or not 0 <= p <= 1 else (node.args[0].id, p)


def _quantile(values: np.ndarray, p: float) -> float:
    known = values[~np.isnan(values)]
    return float(np.quantile(known, p)) if len(known) else math.nan


def _truth(node: ast.expr, columns: Columns, thresholds: Mapping[Quantile, float], rows: int) -> Truth:
    if isinstance(node, ast.UnaryOp):
        true, false = _truth(node.operand, columns, thresholds, rows)
        return false, true
    if isinstance(node, ast.BoolOp):
        parts = [_truth(value, columns, thresholds, rows) for value in node.values]
        trues, falses = [t for t, _ in parts], [f for _, f in parts]
        if isinstance(node.op, ast.And):
            return np.logical_and.reduce(trues), np.logical_or.reduce(falses)
        return np.logical_or.reduce(trues), np.logical_and.reduce(falses)
    assert isinstance(node, ast.Compare)
    values = [_values(v, columns, thresholds, rows) for v in (node.left, *node.comparators)]
    true, false = np.ones(rows, bool), np.zeros(rows, bool)
    for operator, left, right in zip(node.ops, values[:-1], values[1:], strict=True):
        is_known = ~(np.isnan(left) | np.isnan(right))
        holds = COMPARE[type(operator)](left, right)
        true, false = true & is_known & holds, false | (is_known & ~holds)
    return true, false


def _values(node: ast.expr, columns: Columns, thresholds: Mapping[Quantile, float], rows: int) -> np.ndarray:
    if isinstance(node, ast.Name):
        return columns[node.id]
    if isinstance(node, ast.Call):
        quantile = _quantile_of(node)
        assert quantile is not None
        return np.full(rows, thresholds[quantile])
    number = _number_of(node)
    assert number is not None
    return np.full(rows, number)
