"""The description of the API, and a page that shows it without anything from other servers."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from mdtool.escaping import html_escaped

REFERENCE = "#/components/schemas/{model}"
_BODIES: dict[str, type[BaseModel]] = {}


def body_of(kind: type[BaseModel]) -> dict[str, Any]:
    """Return the part of a route's description that says which body it takes; the route reads it by itself."""
    _BODIES[kind.__name__] = kind
    schema = {"$ref": REFERENCE.format(model=kind.__name__)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def describe_api(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document of an app, with the bodies that `body_of` named."""
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes, servers=app.servers
    )
    _, definitions = models_json_schema([(kind, "validation") for kind in _BODIES.values()], ref_template=REFERENCE)
    document.setdefault("components", {}).setdefault("schemas", {}).update(definitions.get("$defs", {}))
    return document


STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;width:100%}td{border-top:1px solid #8886;padding:.3rem .6rem .3rem 0;"
    "vertical-align:top}code{white-space:nowrap}"
)


def docs_page(document: dict[str, Any]) -> str:
    """Return an HTML page that lists the routes of an OpenAPI document, with the fields of their bodies."""
    parts = [
        f"<h1>{html_escaped(document['info']['title'])}</h1>",
        f"<p>{html_escaped(document['info']['description'])}</p>",
    ]
    groups: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            groups.setdefault(operation.get("tags", ["Server"])[0], []).append(
                f"<tr><td><code>{method.upper()} {html_escaped(path)}</code></td>"
                f"<td>{html_escaped(operation.get('description', ''))}{_fields(document, operation)}</td></tr>"
            )
    for name, rows in groups.items():
        parts.append(f"<h2>{html_escaped(name)}</h2><table>{''.join(rows)}</table>")
    parts.append('<p>Machine-readable: <a href="openapi.json">openapi.json</a></p>')
    head = f'<meta charset="utf-8"><title>{html_escaped(document["info"]["title"])}</title><style>{STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>'


def _fields(document: dict[str, Any], operation: dict[str, Any]) -> str:
    content = operation.get("requestBody", {}).get("content", {})
    reference = content.get("application/json", {}).get("schema", {}).get("$ref", "")
    schema = document["components"]["schemas"].get(reference.rpartition("/")[2], {})
    required = schema.get("required", ())
    names = [
        f"<b>{html_escaped(name)}</b>" if name in required else html_escaped(name)
        for name in schema.get("properties", {})
    ]
    return f"<br><small>{', '.join(names)}</small>" if names else ""
