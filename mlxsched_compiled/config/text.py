"""Text that is a schedule, such as its ``repr``: read from left to right, never evaluated.

::

    value    = operand { ("+" | "-" | "*" | "/") operand }
    operand  = number | word | name "(" arguments ")" | "(" values ")" | "[" values "]" | "-" operand
    argument = [ name "=" ] value
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

from ..core.checks import FLOAT32_MAX, shown
from ..core.schedule import Schedule
from .catalogue import called, factory_of

_DEEPEST = 100  # calls, brackets and operators inside each other
_EXCERPT = 100  # how much of a long line an error shows
_TOKEN = re.compile(
    r"""
    (?:\s|\#.*)*
    (?: (?P<number>\.?\d(?:[eE][+-]|[\w.])*)
      | (?P<word>"[^"\\\n]*"|'[^'\\\n]*')
      | (?P<key>\w+)(?=\s*=)
      | (?P<name>\w+)
      | (?P<sign>.)
      | (?P<end>\Z)
    )
    """,
    re.VERBOSE,
)
_CONSTANTS = {"True": True, "False": False, "None": None}
_BINDING = {"+": 1, "-": 1, "*": 2, "/": 2}
_OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
_CLOSING = {"(": ")", "[": "]"}


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


def parsed(text: str) -> Any:
    """What a text stands for: a schedule, a number, a word, True, False, None, or a list of these.

    Raises:
        ValueError: If it stands for none of these, or a factory refuses an argument. The message says where.
        TypeError: If a factory refuses one for its kind.
    """
    parser = _Parser("\n".join(text.strip().splitlines()))
    value = parser.value(0)
    if parser.next.kind != "end":
        parser.refuse_next()
    return value


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        found = ((match.lastgroup or "", match) for match in _TOKEN.finditer(text))
        self.tokens = [_Token(kind, match[kind], match.start(kind)) for kind, match in found]
        self.read = 0

    def value(self, depth: int, binding: int = 1) -> Any:
        """A value, as far as operators bind it together that strongly."""
        first = self.next
        value = self._operand(depth)
        while _BINDING.get(self.next.text, 0) >= binding:
            depth += 1  # what stands to the left is inside of all operators that follow
            sign, second = self._take(), self.next
            other = self.value(depth, _BINDING[sign.text] + 1)
            value = self._operation(_OPERATORS[sign.text], (first, value), (second, other))
        return value

    def _operand(self, depth: int) -> Any:
        if depth > _DEEPEST:
            self._refuse(self.next, f"This is nested more than {_DEEPEST} deep.")
        match self.next:
            case _Token(kind="number"):
                return self._number(self._take())
            case _Token(kind="word"):
                return self._take().text[1:-1]
            case _Token(kind="name", text=name) if name in _CONSTANTS:
                return _CONSTANTS[self._take().text]
            case _Token(kind="name"):
                return self._call(self._take(), depth)
            case _Token(text="-"):
                self._take()
                return self._operation(operator.neg, (self.next, self._operand(depth + 1)))
            case _Token(text="["):
                return self._items(lambda: self.value(depth + 1))
            case _Token(text="("):
                values = self._items(lambda: self.value(depth + 1))
                is_in_parentheses = len(values) == 1 and self.tokens[self.read - 2].text != ","
                return values[0] if is_in_parentheses else tuple(values)
        self.refuse_next()

    def _call(self, name: _Token, depth: int) -> Schedule:
        args: list[Any] = []
        kwargs: dict[str, Any] = {}

        def argument() -> None:
            if self.next.kind != "key":
                args.append(self.value(depth + 1))
                return
            key = self._take()
            if key.text in kwargs:
                self._refuse(key, f"{name.text}: {key.text} is given twice.")
            self._take()  # the =
            kwargs[key.text] = self.value(depth + 1)

        try:
            factory_of(name.text)
        except ValueError as error:
            self._refuse(name, str(error))
        if self.next.text != "(":
            self._refuse(name, f"{name.text} must be called, as in {name.text}(...).")
        self._items(argument)
        try:
            return called(name.text, args, kwargs)
        except (ValueError, TypeError) as error:
            self._refuse(name, str(error), type(error))

    def _items(self, item: Callable[[], Any]) -> list[Any]:
        """What stands between brackets."""
        opening, items = self._take(), []
        while self.next.text != _CLOSING[opening.text]:
            items.append(item())
            if self.next.text == ",":
                self._take()
            elif self.next.kind == "end":
                self._refuse(opening, f"{opening.text!r} was never closed.")
            elif self.next.text != _CLOSING[opening.text]:
                self.refuse_next()
        self._take()
        return items

    def _operation(self, function: Callable[..., Any], *operands: tuple[_Token, Any]) -> Any:
        for first, value in operands:
            if isinstance(value, bool) or not isinstance(value, (int, float, Schedule)):
                self._refuse(first, f"+, -, * and / are for schedules and numbers, but got {shown(value)}.")
        first, _ = operands[0]
        try:
            result = function(*(value for _, value in operands))
        except (ValueError, ArithmeticError) as error:
            self._refuse(first, f"{error}.".replace("..", "."))
        return result if isinstance(result, Schedule) else self._finite(first, result)

    def _number(self, token: _Token) -> Any:
        try:
            number = float(token.text)
        except ValueError:
            self._refuse(token, f"{shown(token.text)} is no number.")
        self._finite(token, number)
        return int(token.text) if token.text.replace("_", "").isdecimal() else number

    def _finite(self, token: _Token, number: Any) -> Any:
        if not abs(number) <= FLOAT32_MAX:
            self._refuse(token, "This number is not finite in float32.")
        return number

    @property
    def next(self) -> _Token:
        """The token that is not read yet."""
        return self.tokens[self.read]

    def _take(self) -> _Token:
        self.read += 1
        return self.tokens[self.read - 1]

    def refuse_next(self) -> NoReturn:
        """Says that the next token has no place."""
        problem = "it ends too early" if self.next.kind == "end" else f"{shown(self.next.text)} has no place here"
        self._refuse(self.next, f"This is not the text of a schedule: {problem}.")

    def _refuse(self, token: _Token, problem: str, kind: type[Exception] = ValueError) -> NoReturn:
        """The problem, where it is, and under that place a caret."""
        line = self.text.count("\n", 0, token.at)
        column = token.at - self.text.rfind("\n", 0, token.at) - 1
        start = max(column - _EXCERPT // 2, 0)
        excerpt = self.text.split("\n")[line][start : start + _EXCERPT]
        caret = " " * (column - start) + "^"
        raise kind(f"{problem} (line {line + 1}, column {column + 1})\n    {excerpt}\n    {caret}") from None
