"""The door for programs and browsers: HTTP in (RFC 9110, RFC 9112), and the only place that knows aiohttp."""

from mtaframe.http_server.server import HttpServer

__all__ = ["HttpServer"]
