"""The API's OpenAPI description, for clients without an SDK: served as `/openapi.json`.

MPS's actions share one URL and differ by a header, which OpenAPI cannot express. As usual for such services, the action is
after a `#` in the path, which clients do not send.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mps_dagster.api.action import Action

Document = dict[str, Any]
ANSWER: Document = {
    "type": "object",
    "required": ["Response"],
    "properties": {
        "Response": {
            "type": "object",
            "required": ["RequestId"],
            "properties": {
                "RequestId": {"type": "string"},
                "Error": {
                    "type": "object",
                    "required": ["Code", "Message"],
                    "properties": {"Code": {"type": "string"}, "Message": {"type": "string"}},
                },
            },
        }
    },
}
DESCRIPTION = """MPS's API 3.0. Requests are signed with TC3-HMAC-SHA256 (X-TC-Timestamp, Authorization). Every answer is HTTP
200 with a `Response`; one that has an `Error` in it has failed. see docs/moving-from-mps.md."""


def openapi(actions: Mapping[str, Action[Any]], version: str) -> Document:
    """All actions, their parameters with their types and ranges."""
    schemas: Document = {}
    paths = {
        f"/#X-TC-Action={name}": {"post": _operation(name, action, version, schemas)}
        for name, action in actions.items()
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "mps_dagster", "version": version, "description": DESCRIPTION},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"TC3": {"type": "apiKey", "in": "header", "name": "Authorization"}},
        },
        "security": [{"TC3": []}],
    }


def _operation(name: str, action: Action[Any], version: str, schemas: Document) -> Document:
    schema = action.model.model_json_schema(by_alias=True, ref_template=f"#/components/schemas/{name}.{{model}}")
    schemas |= {f"{name}.{part}": definition for part, definition in schema.pop("$defs", {}).items()}
    schemas[name] = schema
    headers = {
        "X-TC-Action": {"const": name},
        "X-TC-Version": {"const": version},
        "X-TC-Timestamp": {"type": "integer"},
    }
    return {
        "operationId": name,
        "summary": (action.model.__doc__ or "").strip().partition("\n")[0] or name,
        "parameters": [
            {"name": header, "in": "header", "required": True, "schema": {"type": "string", **kind}}
            for header, kind in headers.items()
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}},
        },
        "responses": {"200": {"description": "The answer.", "content": {"application/json": {"schema": ANSWER}}}},
    }
