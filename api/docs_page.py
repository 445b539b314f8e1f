"""`GET /docs`: the OpenAPI schema as a page that loads nothing. FastAPI's own takes its scripts from the web.

Knows the schema, and no endpoint in particular.
"""

import json
from collections.abc import Mapping
from html import escape
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

router = APIRouter(include_in_schema=False)
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_STYLE = """
:root { color-scheme: light dark } body { font: 1rem/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto;
padding: 0 1rem } h2 { font-size: 1.05rem; margin: 2rem 0 0 } code, pre { font-family: ui-monospace, monospace }
pre { overflow: auto; padding: .75rem; border: 1px solid #8886; border-radius: .4rem } summary { cursor: pointer }
"""


@router.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    """The page."""
    return HTMLResponse(page(request.app.openapi()), headers={"content-security-policy": _POLICY})


def page(schema: Mapping[str, Any]) -> str:
    """HTML of an OpenAPI schema: each operation with what it is for, an example and the schema of its body."""
    title = f"{schema['info']['title']} {schema['info']['version']}"
    parts = [
        _operation(method, path, operation, schema)
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><main><h1>{escape(title)}</h1>"
        f"<p>{escape(schema['info'].get('description', ''))}</p>"
        '<p><a href="/openapi.json">openapi.json</a> is the same for programs.</p>'
        f"{''.join(parts)}</main></body></html>"
    )


def _operation(method: str, path: str, operation: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    content = _content(operation.get("requestBody", {}))
    answer = _content(operation["responses"]["200"]).get("schema")
    texts = [
        f"<h2><code>{escape(method.upper())} {escape(path)}</code></h2>",
        f"<p>{escape(operation.get('summary', ''))}. {escape(operation.get('description', ''))}</p>",
    ]
    if "example" in content:
        texts.append(f"<p>Example:</p><pre>{_json(content['example'])}</pre>")
    texts += [
        f"<details><summary>{name}</summary><pre>{_json(_resolved(part, schema))}</pre></details>"
        for name, part in (("Body", content.get("schema")), ("Answer", answer))
        if part
    ]
    return "".join(texts)


def _content(part: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is said of the JSON of a body or an answer."""
    content: Mapping[str, Any] = part.get("content", {}).get("application/json", {})
    return content


def _resolved(part: Any, schema: Mapping[str, Any]) -> Any:
    """A schema with the one that it refers to in its place."""
    name = str(part.get("$ref", "")).rpartition("/")[2]
    return schema["components"]["schemas"].get(name, part)


def _json(value: Any) -> str:
    return escape(json.dumps(value, indent=2, ensure_ascii=False))
