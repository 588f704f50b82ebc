"""The page at /docs, with its scripts from this server: machines without the internet see it too."""

from __future__ import annotations

from html import escape
from importlib.util import find_spec
from pathlib import Path

import orjson
from fastapi import FastAPI
from starlette.responses import HTMLResponse, RedirectResponse
from starlette.staticfiles import StaticFiles

# Relative addresses, so that the page also works behind a proxy that adds a path in front.
ASSETS = "docs/assets"
# A package that carries Swagger UI 5: older ones show nothing of OpenAPI 3.1. Its Python code is not used.
PACKAGE = "fastapi_offline"
SCHEME = "HTTPBearer"
SETTINGS = {
    "url": "openapi.json",
    "dom_id": "#swagger-ui",
    "deepLinking": True,
    "displayRequestDuration": True,
    "tryItOutEnabled": True,
    # The key stays when the page is loaded again.
    "persistAuthorization": True,
    # A reply can be megabytes of base64, which colouring would take minutes over.
    "syntaxHighlight": False,
    "defaultModelsExpandDepth": 0,
}
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{assets}/swagger-ui.css">
</head>
<body>
<div id="swagger-ui">{instead}</div>
<script src="{assets}/swagger-ui-bundle.js"></script>
<script>
const settings = {settings}, key = {key};
if (key) settings.onComplete = () => ui.preauthorizeApiKey("{scheme}", key);
const ui = SwaggerUIBundle(settings);
</script>
</body>
</html>
"""


def add_page(app: FastAPI, key: str | None) -> None:
    """Swagger UI of the app's OpenAPI document; `key` is filled in where it is no secret."""
    folder = _assets()
    instead = "" if folder else "This page needs the package fastapi-offline: pip install fastapi-offline"
    if folder:
        app.mount(f"/{ASSETS}", StaticFiles(directory=folder), name="swagger")
    page = PAGE.format(
        title=escape(app.title),
        assets=ASSETS,
        instead=instead,
        settings=orjson.dumps(SETTINGS).decode(),
        key=orjson.dumps(key).decode(),
        scheme=SCHEME,
    )

    @app.get("/", include_in_schema=False)
    def start() -> RedirectResponse:
        return RedirectResponse("docs")

    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return HTMLResponse(page)


def _assets() -> Path | None:
    spec = find_spec(PACKAGE)
    return Path(spec.origin).parent / "static" if spec and spec.origin else None
