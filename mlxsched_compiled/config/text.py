"""Text that is a schedule, such as its ``repr``: parsed, never evaluated."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable
from typing import Any, NoReturn

from ..core.checks import FLOAT32_MAX, shown
from ..core.schedule import Schedule
from .catalogue import called, factory_of

_LONGEST = 1_000_000
"""The most characters..."""
_DEEPEST = 100
"""...and the most calls, lists and operators inside each other."""
_MOST = 1500
"""The most words and signs in an element and those around it. Of many more, the parser of some Pythons crashes."""
_EXCERPT = 100
"""How much of a long line an error shows."""
_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_SIGNS: dict[type[ast.unaryop], Callable[[Any], Any]] = {ast.USub: operator.neg, ast.UAdd: operator.pos}


def parsed(text: str) -> Any:
    """What a text stands for: a schedule, a number, a word, True, False, None, or a list of these.

    Raises:
        ValueError: If it stands for none of these, or a factory refuses an argument. The message says where.
        TypeError: If a factory refuses one for its kind.
    """
    return _Text(text).value()


class _Text:
    def __init__(self, text: str) -> None:
        self.text = text.strip().replace("\r\n", "\n").replace("\r", "\n")  # what Python takes for ends of lines
        self.lines = self.text.split("\n")

    def value(self) -> Any:
        if not self.text:
            raise ValueError("A schedule's text must not be empty.")
        if len(self.text) > _LONGEST:
            raise ValueError(f"A schedule's text must have at most {_LONGEST} characters, but has {len(self.text)}.")
        if _is_too_deep(self.text):
            raise ValueError(self._located(1, 0, f"This is nested more than {_DEEPEST} deep."))
        return self._value(self._tree(), 1)

    def _tree(self) -> ast.expr:
        try:
            return ast.parse(self.text, mode="eval").body
        except SyntaxError as error:
            line, column = min(error.lineno or 1, len(self.lines)), (error.offset or 1) - 1
            problem = f"This is not the text of a schedule: {error.msg}."
            if self.lines[line - 1][column : column + 1] == "<":
                problem = "What Python prints in <> is a function or an object, which cannot be written as text."
            raise ValueError(self._located(line, column, problem)) from None
        except (RecursionError, MemoryError):
            raise ValueError(self._located(1, 0, f"This is nested more than {_DEEPEST} deep.")) from None
        except ValueError as error:  # what is no text at all
            raise ValueError(f"This is not the text of a schedule: {error}.") from None

    def _value(self, node: ast.expr, depth: int) -> Any:
        if depth > _DEEPEST:
            self._refuse(node, f"This is nested more than {_DEEPEST} deep.")
        match node:
            case ast.Constant(value=bool() | None | str() as word):
                return word
            case ast.Constant(value=int() | float() as number):
                return self._number(node, number)
            case ast.List(elts=elements):
                return [self._value(element, depth + 1) for element in elements]
            case ast.Tuple(elts=elements):
                return tuple(self._value(element, depth + 1) for element in elements)
            case ast.UnaryOp(op=op, operand=operand) if type(op) in _SIGNS:
                return self._operation(node, _SIGNS[type(op)], self._operand(operand, depth + 1))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                operands = self._operand(left, depth + 1), self._operand(right, depth + 1)
                return self._operation(node, _OPERATORS[type(op)], *operands)
            case ast.Call(func=ast.Name(id=name)):
                return self._call(node, name, depth)
            case ast.Name(id=name):
                self._check_name(node, name)
                self._refuse(node, f"{name} must be called, as in {name}(...).")
            case ast.Call(func=function):
                node = function
        self._refuse(node, f"{_WORDS.get(type(node), 'This')} has no place in the text of a schedule.")

    def _check_name(self, node: ast.expr, name: str) -> None:
        try:
            factory_of(name)
        except ValueError as error:
            self._refuse(node, str(error))

    def _call(self, node: ast.Call, name: str, depth: int) -> Schedule:
        self._check_name(node, name)
        args = [self._value(arg, depth + 1) for arg in node.args]
        kwargs = {}
        for keyword in node.keywords:
            if keyword.arg is None:
                self._refuse(keyword.value, "** has no place in the text of a schedule.")
            if keyword.arg in kwargs:
                self._refuse(keyword, f"{name}: {keyword.arg} is given twice.")
            kwargs[keyword.arg] = self._value(keyword.value, depth + 1)
        try:
            return called(name, args, kwargs)
        except (ValueError, TypeError) as error:
            self._refuse(node, str(error), error)

    def _operand(self, node: ast.expr, depth: int) -> Any:
        value = self._value(node, depth)
        if isinstance(value, bool) or not isinstance(value, (int, float, Schedule)):
            self._refuse(node, f"+, -, * and / are for schedules and numbers, but got {shown(value)}.")
        return value

    def _operation(self, node: ast.expr, function: Callable[..., Any], *operands: Any) -> Any:
        try:
            value = function(*operands)
        except (ValueError, TypeError, ArithmeticError) as error:
            self._refuse(node, f"{error}.".replace("..", "."), error)
        return value if isinstance(value, Schedule) else self._number(node, value)

    def _number(self, node: ast.expr, value: Any) -> Any:
        if not abs(value) <= FLOAT32_MAX:
            self._refuse(node, "This number is not finite in float32.")
        return value

    def _refuse(self, node: ast.expr | ast.keyword, problem: str, error: Exception | None = None) -> NoReturn:
        before = self.lines[node.lineno - 1].encode()[: node.col_offset].decode()
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(self._located(node.lineno, len(before), problem)) from error

    def _located(self, line: int, column: int, problem: str) -> str:
        """The problem, where it is, and under that place a caret."""
        text = self.lines[line - 1]
        start = max(column - _EXCERPT // 2, 0)
        excerpt = text[start : start + _EXCERPT]
        return f"{problem} (line {line}, column {column + 1})\n    {excerpt}\n    {' ' * (column - start)}^"


def _is_too_deep(text: str) -> bool:
    """Whether there may be more in each other than the parser can take: commas part what is beside each other."""
    counts, total = [0], 0  # of words and signs in what is around, and in what is here
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token == ",":
            total -= counts[-1]
            counts[-1] = 0
        elif token in _CLOSING and len(counts) > 1:
            total -= counts.pop()
        elif not token.startswith("#"):
            words = len(token) if "{" in token else 1  # an f-string holds expressions too
            total += words
            counts[-1] += words
            if token in _OPENING:
                counts.append(0)
        if total > _MOST:
            return True
    return False


_OPENING, _CLOSING = ("(", "[", "{"), (")", "]", "}")
_TOKEN = re.compile(
    r"""
    (?P<quote>\"{3}|'{3}|\"|')(?:\\.|(?!(?P=quote))[^\\])*(?P=quote)  # a string
    | ["'].*  # one that does not end
    | \#[^\n]*  # a comment
    | \w+ | \S  # a word, a sign
    """,
    re.DOTALL | re.VERBOSE,
)

_WORDS: dict[type[ast.expr], str] = {
    ast.BinOp: "This operator",
    ast.UnaryOp: "This operator",
    ast.Attribute: "A dot",
    ast.Subscript: "A subscript",
    ast.Lambda: "A lambda",
    ast.ListComp: "A comprehension",
    ast.SetComp: "A comprehension",
    ast.DictComp: "A comprehension",
    ast.GeneratorExp: "A comprehension",
    ast.JoinedStr: "An f-string",
    ast.Starred: "*",
    ast.NamedExpr: ":=",
    ast.Dict: "A mapping",
    ast.Set: "A set",
    ast.Compare: "A comparison",
    ast.IfExp: "A condition",
    ast.BoolOp: "A condition",
}
"""What is refused, in words."""
