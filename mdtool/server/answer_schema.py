"""JSON Schemas of answers, as far as constrained decoding can keep to them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from engine.contract import Choices, Number
from mdtool.server.api_error import ApiError, bad_request

SUPPORTED = "an enum of strings, a number, an integer, a boolean, or an object with one such property"
_NOTES = frozenset({
    "$defs", "$schema", "additionalProperties", "const", "default", "definitions", "description", "enum", "examples",
    "properties", "required", "strict", "title", "type",
})  # fmt: skip


@dataclass(frozen=True)
class AnswerSchema:
    """A schema that answers can be kept to.

    Attributes:
        kind: Of JSON value.
        choices: The strings, if it is an enumeration.
        key: Of the object that the value is put into; None: the value stands alone.
    """

    kind: Literal["string", "number", "integer", "boolean"]
    choices: tuple[str, ...] = ()
    key: str | None = None

    @property
    def allowed(self) -> Choices | Number:
        """The constraint on the answer's text."""
        if self.kind == "boolean":
            return Choices(("true", "false"))
        return Choices(self.choices) if self.kind == "string" else Number()

    def json_text(self, answer: str) -> str:
        """Return the JSON text of an answer that was generated under the constraint."""
        value = answer if self.kind != "string" else json.dumps(answer, ensure_ascii=False)
        if self.kind == "integer":  # as if the constraint ended a number before its point
            value = str(int(Decimal(answer)))
        elif self.kind == "number":
            value = format(Decimal(answer), "f")
        return value if self.key is None else f"{{{json.dumps(self.key, ensure_ascii=False)}: {value}}}"


def parse_response_format(given: Mapping[str, Any] | None, param: str = "response_format") -> AnswerSchema | None:
    """Return what the response_format of OpenAI's API demands; None: any text.

    Raises:
        ApiError: It is no such format, or one that can't be kept to.
    """
    kind = None if given is None else given.get("type")
    if given is None or kind == "text":
        return None
    if kind != "json_schema":
        raise _unsupported(f"type {kind!r} is not supported" if isinstance(kind, str) else "its type is missing", param)
    inner = given.get("json_schema", given)  # the Responses API has the schema one level higher
    schema = inner.get("schema") if isinstance(inner, Mapping) else None
    if not isinstance(schema, Mapping):
        raise _unsupported("it has no schema", param)
    return parse_schema(schema, param)


def parse_schema(schema: Mapping[str, Any], param: str) -> AnswerSchema:
    """Return a JSON Schema as one that answers can be kept to.

    Raises:
        ApiError: They can't.
    """
    definitions = schema.get("$defs", schema.get("definitions", {}))
    try:
        if schema.get("type") != "object":
            return _value(schema, definitions, None, param)
        properties = schema.get("properties", {})
        if len(properties) != 1:
            raise _unsupported(f"it has {len(properties)} properties", param)
        _check_keywords(schema, param)
        [(key, inner)] = properties.items()
        return _value(inner, definitions, key, param)
    except (TypeError, AttributeError) as error:
        raise _unsupported("it is not a JSON Schema", param) from error


def _value(given: Mapping[str, Any], definitions: Mapping[str, Any], key: str | None, param: str) -> AnswerSchema:
    schema = _resolved(given, definitions, param)
    _check_keywords(schema, param)
    kind = schema.get("type")
    values = schema.get("enum")
    if values is not None:
        if not all(isinstance(value, str) for value in values) or kind not in (None, "string"):
            raise _unsupported("its enum has other values than strings", param)
        try:
            return AnswerSchema("string", Choices(tuple(values)).texts, key)
        except ValueError as error:
            raise bad_request(f"{param}: the enum can't be kept to: {error}", param) from error
    if kind in ("number", "integer", "boolean") and "const" not in schema:
        return AnswerSchema(kind, (), key)
    raise _unsupported("it allows any string" if kind == "string" else f"type {kind!r} is not supported", param)


def _resolved(schema: Mapping[str, Any], definitions: Mapping[str, Any], param: str) -> Mapping[str, Any]:
    """Follow a reference to a definition of the same schema, as pydantic writes for enumerations."""
    whole = schema.get("allOf", [])
    target = schema.get("$ref") or (whole[0].get("$ref") if len(whole) == 1 else None)
    if target is None:
        return schema
    found = definitions.get(target.rpartition("/")[2])
    if found is None or "$ref" in found:
        raise _unsupported("a reference in it leads nowhere", param)
    resolved: Mapping[str, Any] = found
    return resolved


def _check_keywords(schema: Mapping[str, Any], param: str) -> None:
    if unknown := sorted(set(schema) - _NOTES):
        raise _unsupported(f"{unknown[0]!r} can't be kept to", param)


def _unsupported(why: str, param: str) -> ApiError:
    return bad_request(f"{param}: {why}; answers can be kept to {SUPPORTED}", param)
