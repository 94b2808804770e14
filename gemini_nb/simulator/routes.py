"""Which model and method a URL asks for, on which of the two backends.

The same method stands under several paths: plain (developer API), under a project and location (Vertex AI),
and under a publisher alone (Vertex AI with an API key).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gemini_nb.simulator.refusals import not_found

__all__ = ["METHODS", "Route", "find_route"]

METHODS = ("streamGenerateContent", "generateContent", "countTokens")

_DEVELOPER = re.compile(
    r"/(?P<version>v1|v1beta|v1alpha)/(?P<name>(?:models|tunedModels)/[^/:]+)(?::(?P<method>\w+))?"
)
_DEVELOPER_LIST = re.compile(r"/(?P<version>v1|v1beta|v1alpha)/models")
_PROJECT = r"projects/[^/:]+/locations/[^/:]+/"
_VERTEX = re.compile(
    rf"/(?P<version>v1|v1beta1)/(?P<name>(?P<project>{_PROJECT})?publishers/[^/:]+/models/[^/:]+)(?::(?P<method>\w+))?"
)
_VERTEX_LIST = re.compile(rf"/(?P<version>v1|v1beta1)/(?P<project>{_PROJECT})?publishers/[^/:]+/models")


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where a request goes.

    Attributes:
        version: the API version in the path.
        vertex: True for the paths of Vertex AI.
        express: True for a Vertex AI path without project, which takes an API key.
        name: the resource name of the model, such as "models/gemini-3.8-flash"; empty for the list.
        method: the custom method after the colon; "get" or "list" without one.
    """

    version: str
    vertex: bool
    express: bool = False
    name: str = ""
    method: str = "list"

    @property
    def model(self) -> str:
        """The bare id of the model."""
        return self.name.rpartition("/")[2]

    @property
    def tuned(self) -> bool:
        """Whether the model is one that the caller tuned."""
        return self.name.startswith("tunedModels/")


def find_route(verb: str, path: str) -> Route:
    """Find the route of a request.

    Raises:
        RefusalError: no method stands at this path, or it does not answer this verb: 404.
    """
    for pattern, vertex in (
        (_DEVELOPER, False),
        (_VERTEX, True),
        (_DEVELOPER_LIST, False),
        (_VERTEX_LIST, True),
    ):
        match = pattern.fullmatch(path)
        if match is None:
            continue
        found = match.groupdict()
        name = found.get("name") or ""
        method = found.get("method") or ("get" if name else "list")
        if (verb == "POST") != (method in METHODS) or verb not in {"GET", "POST"}:
            break
        express = vertex and not found.get("project")
        return Route(version=found["version"], vertex=vertex, express=express, name=name, method=method)
    raise not_found(f"The simulator serves nothing for {verb} {path}.")
