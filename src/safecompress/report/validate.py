"""Whether a JSON value is what a schema says: the keywords that the report's own schema uses, and no others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from safecompress.errors import UsageError

_TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "null": (type(None),),
}
_KNOWN = frozenset(
    {"type", "enum", "const", "anyOf", "$ref", "properties", "required", "additionalProperties", "items", "minimum"}
    | {"maximum", "description", "title", "$schema", "$id", "$defs"}
)


def faults_in(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any] | None = None) -> Iterator[str]:
    """What is wrong with ``value``, each fault with its place: ``findings.0.bound: is no number``.

    ``root`` is the schema with the definitions (default: ``schema``). Raises UsageError for a keyword that is not
    implemented.
    """
    yield from _faults(value, schema, schema if root is None else root, "")


def _faults(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], place: str) -> Iterator[str]:
    unknown = schema.keys() - _KNOWN
    if unknown:
        raise UsageError(f"The schema uses {', '.join(sorted(unknown))}, which is not implemented.")
    where = place or "the whole"
    if "$ref" in schema:
        yield from _faults(value, root["$defs"][schema["$ref"].rpartition("/")[2]], root, place)
    if "anyOf" in schema and all(any(True for _ in _faults(value, one, root, place)) for one in schema["anyOf"]):
        yield f"{where}: is of none of the kinds that it may be"
    if "type" in schema and not _is_a(value, schema["type"]):
        yield f"{where}: is no {schema['type']}"
        return
    if "const" in schema and not _same(value, schema["const"]):
        yield f"{where}: must be {schema['const']!r}"
    if "enum" in schema and not any(_same(value, one) for one in schema["enum"]):
        yield f"{where}: must be one of {', '.join(map(str, schema['enum']))}"
    if _is_a(value, "number"):
        if value < schema.get("minimum", value) or value > schema.get("maximum", value):
            yield f"{where}: lies outside of {schema.get('minimum', '')} .. {schema.get('maximum', '')}"
    elif isinstance(value, dict):
        yield from _faults_of_object(value, schema, root, place)
    elif isinstance(value, list) and "items" in schema:
        for number, item in enumerate(value):
            yield from _faults(item, schema["items"], root, f"{place}.{number}".lstrip("."))


def _faults_of_object(
    value: Mapping[str, Any], schema: Mapping[str, Any], root: Mapping[str, Any], place: str
) -> Iterator[str]:
    properties, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{place or 'the whole'}: lacks {name}"
    for name, one in value.items():
        inner = f"{place}.{name}".lstrip(".")
        if name in properties:
            yield from _faults(one, properties[name], root, inner)
        elif others is False:
            yield f"{inner}: is not known"
        elif isinstance(others, dict):
            yield from _faults(one, others, root, inner)


def _is_a(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer":
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return isinstance(value, _TYPES[kind])


def _same(value: Any, other: Any) -> bool:
    return bool(value == other) and isinstance(value, bool) == isinstance(other, bool)
