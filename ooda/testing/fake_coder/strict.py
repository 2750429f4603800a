"""Every request and answer held against an OpenAPI 3.0 document: the fake's own conscience, in development and tests.

The document is handed in as a file; nothing of it is part of this package. Needs `jsonschema`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ooda.errors import ConfigError

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

__all__ = ["Conscience"]

_METHODS = ("get", "put", "post", "patch", "delete")


class Conscience:
    """Judges what goes over the wire by a document."""

    def __init__(self, document: Path) -> None:
        spec = json.loads(document.read_text(encoding="utf-8"))
        self._components = {"schemas": _as_json_schema(spec["components"]["schemas"])}
        self._operations = [
            (method.upper(), re.compile(re.sub(r"\{[^/]+\}", "[^/]+", path)), path.count("{"), operations[method])
            for path, operations in spec["paths"].items()
            for method in _METHODS
            if method in operations
        ]
        self._validators: dict[str, Validator] = {}

    def request(self, method: str, path: str, query: dict[str, str], body: bytes) -> list[str]:
        """What is wrong with a request; empty when nothing is."""
        operation = self._operation(method, path)
        if operation is None:
            return [f"{method} {path}: no such operation"]
        known = {entry["name"] for entry in operation.get("parameters", ()) if entry["in"] == "query"}
        wrong = [f"{method} {path}: unknown query parameter `{name}`" for name in query if name not in known]
        content = operation.get("requestBody", {}).get("content", {})
        if body and not content:
            wrong.append(f"{method} {path}: takes no body")
        elif content:
            wrong += self._judge(f"{method} {path}", next(iter(content.values()))["schema"], body)
        return wrong

    def answer(self, method: str, path: str, status: int, body: bytes) -> list[str]:
        """What is wrong with an answer; empty when nothing is."""
        operation = self._operation(method, path)
        if operation is None:
            return []
        responses = operation["responses"]
        response = responses.get(str(status)) or (responses.get("default") if status >= 400 else None)
        where = f"{method} {path} -> {status}"
        if response is None:
            return [f"{where}: not among {', '.join(responses)}"]
        content = response.get("content", {})
        if not content:
            return [f"{where}: has a body"] if body else []
        return self._judge(where, next(iter(content.values()))["schema"], body)

    def _operation(self, method: str, path: str) -> dict[str, Any] | None:
        found = [
            (placeholders, operation)
            for known, pattern, placeholders, operation in self._operations
            if known == method and pattern.fullmatch(path)
        ]
        return min(found, key=lambda pair: pair[0])[1] if found else None

    def _judge(self, where: str, schema: dict[str, Any], body: bytes) -> list[str]:
        try:
            value = json.loads(body)
        except ValueError as error:
            return [f"{where}: no JSON ({error})"]
        return [
            f"{where}: {'/'.join(map(str, error.absolute_path))}: {error.message[:200]}"
            for error in self._validator(schema).iter_errors(value)
        ]

    def _validator(self, schema: dict[str, Any]) -> Validator:
        try:
            from jsonschema import Draft202012Validator
        except ImportError as error:
            raise ConfigError(
                "requests are held against a schema with `jsonschema`: `pip install 'ooda-agents[testing]'`"
            ) from error

        key = json.dumps(schema, sort_keys=True)
        if key not in self._validators:
            self._validators[key] = Draft202012Validator(
                {**_as_json_schema(schema), "components": self._components},
                format_checker=Draft202012Validator.FORMAT_CHECKER,
            )
        return self._validators[key]


def _as_json_schema(node: Any) -> Any:
    """OpenAPI 3.0 in JSON Schema's words: `nullable` becomes a type, and no field may come that is not described."""
    if isinstance(node, list):
        return [_as_json_schema(item) for item in node]
    if not isinstance(node, dict):
        return node
    out = {key: _as_json_schema(value) for key, value in node.items() if key not in ("nullable", "example")}
    if isinstance(node.get("properties"), dict) and "additionalProperties" not in node:
        out["additionalProperties"] = False
    return {"anyOf": [out, {"type": "null"}]} if node.get("nullable") is True else out
