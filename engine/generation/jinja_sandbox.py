"""Jinja templates of unknown origin, rendered without file access and with bounded work, memory and output.

Jinja2's sandbox denies access to Python objects, but not loops without end or strings without limit. Here a template
has a budget: each pass through a loop or macro, each operation on a text or a list, and all that is printed is charged
to it by its size, before it is computed. Filters, tests and methods of values are those in the lists below, no others.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sized
from datetime import datetime
from typing import Any, cast

from jinja2 import TemplateError, nodes
from jinja2.environment import Template
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.ext import loopcontrols as LoopControls
from jinja2.filters import FILTERS
from jinja2.parser import Parser
from jinja2.runtime import BlockReference, Context, LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment, safe_range
from jinja2.tests import TESTS
from jinja2.utils import Namespace, pass_context
from jinja2.visitor import NodeTransformer

MAX_SOURCE = 1 << 17  # characters of a template
BASE_WORK = 500_000  # units of the budget, for a second at most
WORK_PER_INPUT = 50  # units for each one of the variables' size
UNIT_CHARACTERS = 16  # characters of text that count as one unit
MAX_FORMAT = 100  # characters of a time's format

_CONSTANT_TIME_FILTERS = ("length", "count", "first", "last", "default", "d", "int", "float", "abs")
_LINEAR_FILTERS = (
    *("lower", "upper", "title", "capitalize", "trim", "replace", "join", "string", "list", "items", "dictsort"),
    *("reverse", "sort", "unique", "min", "max", "map", "select", "reject", "selectattr", "rejectattr"),
)
_CONSTANT_TIME_TESTS = (
    *("defined", "undefined", "none", "string", "number", "mapping", "sequence", "iterable", "boolean", "true"),
    *("false", "integer", "float", "odd", "even", "divisibleby", "sameas", "callable", "filter", "test"),
)
_LINEAR_TESTS = (
    *("in", "eq", "==", "equalto", "ne", "!=", "lt", "<", "lessthan", "le", "<=", "gt", ">", "greaterthan", "ge"),
    *(">=", "lower", "upper"),
)
_METHODS = {
    str: (
        *("capitalize", "count", "endswith", "find", "index", "isalnum", "isalpha", "isdigit", "islower", "isspace"),
        *("isupper", "join", "lower", "lstrip", "partition", "removeprefix", "removesuffix", "replace", "rfind"),
        *("rpartition", "rsplit", "rstrip", "split", "splitlines", "startswith", "strip", "title", "upper"),
    ),
    list: ("count", "index"),
    tuple: ("count", "index"),
    dict: ("get", "items", "keys", "values"),
}
_BUDGET = " budget"  # names with a space can't be written in a template
_CHARGE, _SPEND = " charge", " spend"


class _Budget:
    """The work that a template may still do, in units."""

    def __init__(self, units: int) -> None:
        self._left = units

    def spend(self, units: int) -> None:
        """Take units; raises SecurityError if there are not as many."""
        self._left -= units
        if self._left < 0:
            raise SecurityError("it does not end, or makes too much text")

    def charge(self, *values: Any) -> None:
        """Take the size of each value."""
        for value in values:
            self.spend(_size(value, self._left))


def _size(value: Any, limit: int) -> int:
    """Return the size of a value in units, written out as a tree; any number above the limit if it is larger."""
    size, open_values = 0, [value]
    while open_values and size <= limit:
        item = open_values.pop()
        size += 1
        if isinstance(item, str | range):
            size += len(item) // UNIT_CHARACTERS
        elif isinstance(item, Namespace):  # it may contain itself
            raise SecurityError("it prints, stores or compares a namespace")
        elif isinstance(item, Mapping):
            size += len(item)
            if size <= limit:
                open_values.extend([*item.keys(), *item.values()])
        elif isinstance(item, Sized) and isinstance(item, Iterable):
            if size + len(item) > limit:
                return size + len(item)
            open_values.extend(item)  # not +=, which an undefined value would answer
    return size


def _budget(context: Context) -> _Budget:
    budget: _Budget = context.parent[_BUDGET]
    return budget


@pass_context
def _charge(context: Context, value: Any) -> Any:
    _budget(context).charge(value)
    return value


@pass_context
def _spend(context: Context, units: int) -> bool:
    _budget(context).spend(units)
    return True


class _Metered(NodeTransformer):
    """Adds to a parsed template what charges the budget, wherever the environment's own hooks do not."""

    def visit_For(self, node: nodes.For) -> nodes.For:
        weight = _weight(node)
        self.generic_visit(node)
        node.body.insert(0, nodes.ExprStmt(weight))
        if node.test is not None:
            node.test = nodes.And(weight, node.test)
        return node

    def _repeatable(self, node: Any) -> Any:
        weight = _weight(node)
        self.generic_visit(node)
        node.body.insert(0, nodes.ExprStmt(weight))
        return node

    visit_Macro = visit_CallBlock = visit_Block = _repeatable

    def visit_TemplateData(self, node: nodes.TemplateData) -> nodes.Const:
        return nodes.Const(node.data)  # is charged as it is printed, in each pass

    def _container(self, node: Any) -> nodes.Node:
        self.generic_visit(node)
        return node if getattr(node, "ctx", "load") != "load" else _charged(node)

    visit_List = visit_Tuple = visit_Dict = _container

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        self.generic_visit(node)
        return _charged(node) if isinstance(node.arg, nodes.Slice) else node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        node.nodes = [_charged(part) for part in node.nodes]
        return node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        node.expr = _charged(node.expr)
        for operand in node.ops:
            operand.expr = _charged(operand.expr)
        return node


def _weight(node: nodes.Node) -> nodes.Expr:
    """Return an expression that takes units for one pass through a node."""
    units = 1 + sum(1 for _ in node.find_all(nodes.Node)) // 8
    return nodes.Filter(nodes.Const(units), _SPEND, [], [], None, None)


def _charged(node: nodes.Expr) -> nodes.Expr:
    return node if isinstance(node, nodes.Const) else nodes.Filter(node, _CHARGE, [], [], None, None)


def _charge_growth(budget: _Budget, name: str, value: Any, args: tuple[Any, ...]) -> None:
    """Charge an operation whose result may be longer than its operands together."""
    if name == "replace" and len(args) >= 2 and all(isinstance(text, str) for text in (value, *args[:2])):
        budget.spend(value.count(args[0]) * _size(args[1], 1 << 40))
    elif name == "join" and isinstance(value, Sized) and args:
        budget.spend(len(value) * _size(args[0], 1 << 40))
    elif name in ("split", "rsplit", "splitlines") and isinstance(value, str):
        separator = args[0] if args and isinstance(args[0], str) else ""
        budget.spend(value.count(separator) if separator else len(value) // 8)


def _metered_filter(name: str, linear: bool) -> Callable[..., Any]:
    function: Callable[..., Any] = FILTERS[name]
    kind = getattr(getattr(function, "jinja_pass_arg", None), "name", None)

    @pass_context
    def metered(context: Context, value: Any, *args: Any, **kwargs: Any) -> Any:
        budget = _budget(context)
        if linear:
            if not isinstance(value, Sized) and isinstance(value, Iterable):
                value = list(value)
            budget.charge(value, args, kwargs)
            if not isinstance(value, str) and isinstance(value, Sized):  # an attribute is looked up for each item
                budget.spend(len(value) * _size([args, kwargs], 1 << 40))
            _charge_growth(budget, name, value, (*args, *kwargs.values()))
        passed = {"context": context, "eval_context": context.eval_ctx, "environment": context.environment}
        result = function(passed[kind], value, *args, **kwargs) if kind else function(value, *args, **kwargs)
        budget.spend(1)
        if linear:
            budget.charge(result)
        return result

    return metered


def _metered_test(name: str) -> Callable[..., bool]:
    function = cast(Callable[..., bool], TESTS[name])

    @pass_context
    def metered(context: Context, value: Any, *args: Any) -> bool:
        _budget(context).charge(value, args)
        return function(value, *args)

    return metered


@pass_context
def _tojson(
    context: Context,
    value: Any,
    *,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Return JSON without HTML's escapes, as templates on the Hugging Face hub expect it."""
    if indent is not None and not (type(indent) is int and 0 <= indent <= 16):
        raise SecurityError("it indents JSON by more than 16")
    _budget(context).charge(value, separators)
    text = json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
    _budget(context).charge(text)
    return text


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


def _strftime_now(format: str) -> str:
    if len(format) > MAX_FORMAT:
        raise SecurityError("the format of a time is too long")
    return datetime.now().strftime(format)


class _Generation(Extension):
    """The tag {% generation %}, which marks the assistant's text for training and prints it unchanged."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


_GLOBALS = {
    "range": safe_range,
    "dict": dict,
    "namespace": Namespace,
    "raise_exception": _raise_exception,
    "strftime_now": _strftime_now,
}


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset(["+", "-", "*", "/", "//", "%", "**"])

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,  # constants would be computed, unbounded, as the template is parsed
            finalize=_charge,
            cache_size=0,
            extensions=[LoopControls, _Generation],
        )
        self.globals = dict(_GLOBALS)
        self.filters = {
            **{name: _metered_filter(name, linear=False) for name in _CONSTANT_TIME_FILTERS},
            **{name: _metered_filter(name, linear=True) for name in _LINEAR_FILTERS},
            **{"tojson": _tojson, "safe": lambda value: value, _CHARGE: _charge, _SPEND: _spend},
        }
        self.tests = {name: TESTS[name] for name in _CONSTANT_TIME_TESTS}
        self.tests |= {name: _metered_test(name) for name in _LINEAR_TESTS}

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        template = super()._parse(source, name, filename)
        _Metered().visit(template)
        template.set_lineno(1)  # of the nodes that were added
        return template

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        budget = _budget(__context)
        if isinstance(__obj, Macro | BlockReference | LoopContext):
            budget.spend(1)
        elif __obj in _GLOBALS.values() or isinstance(getattr(__obj, "__self__", None), LoopContext):
            budget.charge(args, kwargs)
        else:
            receiver = getattr(__obj, "__self__", None)
            kind = next((kind for kind in _METHODS if isinstance(receiver, kind)), None)
            name = getattr(__obj, "__name__", type(__obj).__name__)
            if kind is None or name not in _METHODS[kind]:
                raise SecurityError(f"{name}() is not available")
            budget.charge(args, kwargs)
            if kind is not dict:
                budget.charge(receiver)
            if kind is str:
                grown = (args[0], (receiver,)) if name == "join" and args else (receiver, args)
                _charge_growth(budget, name, *grown)
        result = super().call(__context, __obj, *args, **kwargs)
        if not isinstance(result, Namespace):
            budget.charge(result)
        return result

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        budget = _budget(context)
        budget.charge(left, right)
        if operator == "**" or (operator == "%" and isinstance(left, str)):
            raise SecurityError(f"the operator {operator} is not available here")
        if operator == "*":
            for factor, sequence in ((left, right), (right, left)):
                if isinstance(factor, int) and isinstance(sequence, Sized):
                    budget.spend(max(0, factor) * _size(sequence, 1 << 40))
        result = super().call_binop(context, operator, left, right)
        if isinstance(result, int) and result.bit_length() > 64:
            raise SecurityError("a number is too large")
        return result


_environment = _Environment()


def compile_template(source: str) -> Template:
    """Compile a template; raises Exception of many kinds if it is broken."""
    if len(source) > MAX_SOURCE:
        raise SecurityError(f"it is longer than {MAX_SOURCE} characters")
    return _environment.from_string(source)


def render_template(template: Template, variables: Mapping[str, Any]) -> str:
    """Render a template from `compile_template`, within its budget; raises Exception of many kinds if it fails."""
    size = _size(variables, 1 << 40)
    return template.render({**variables, _BUDGET: _Budget(BASE_WORK + WORK_PER_INPUT * size)})
