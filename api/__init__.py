"""The API: what other programs call, in OpenAI's forms, and each chain with its schema. `create_app` makes it.

Knows everything below it and no pages. FastAPI is imported when the first name is asked for.
"""

from typing import TYPE_CHECKING

from phireside.lazy import lazy

if TYPE_CHECKING:
    from phireside.api.app import create_app
    from phireside.api.parts import Options
    from phireside.api.routes import routes
else:
    __getattr__ = lazy(__name__, {"create_app": "app", "routes": "routes", "Options": "parts"})

__all__ = ["create_app", "routes", "Options"]
