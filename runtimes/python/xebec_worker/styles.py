"""The ways in which a function may want to be called, and how to tell them apart."""

import os

from .requests import Query

COROUTINE, ASYNC_GENERATOR = 0x80, 0x200  # flags of code objects


class Event:
    """The request as `handle(event, context)` sees it."""

    __slots__ = ("body", "headers", "method", "path", "query_string", "_query")

    def __init__(self, request, body):
        self.body = body
        self.headers = request.headers
        self.method = request.method
        self.path = request.path
        self.query_string = request.query_string
        self._query = None

    @property
    def query(self):
        if self._query is None:
            self._query = Query(self.query_string)
        return self._query


class Context:
    """What surrounds a call."""

    def __init__(self, request, function):
        self.hostname = os.environ.get("HOSTNAME", "localhost")
        self.function_name = function
        self.call_id = request.headers.get("x-call-id", "")


def style_request(target, function):
    """`handle(req)`: the body as text, or as bytes where it is no text."""

    def call(request, body):
        try:
            body = body.decode()
        except UnicodeDecodeError:
            pass
        return target(body)

    return call


def style_event_context(target, function):
    """`handle(event, context)`: attributes of the request."""
    return lambda request, body: target(Event(request, body), Context(request, function))


def style_json(target, function):
    """`handler(event, context)` or `handler(event)`: the body parsed as JSON, as text where it is none."""
    wants_context = len(arguments(target)) != 1

    def call(request, body):
        event = None
        if body:
            import json

            try:
                event = json.loads(body)
            except ValueError:
                event = body.decode("utf-8", "replace")
        return target(event, Context(request, function)) if wants_context else target(event)

    return call


def _openfaas(name):
    def style(target, function):
        from . import openfaas

        return getattr(openfaas, "style_" + name)(target, function)

    return style


CALLS = {
    "request": style_request, "event-context": style_event_context, "json": style_json,
    "openfaas-http": _openfaas("http"), "openfaas-flask": _openfaas("flask"),
    "openfaas-classic": _openfaas("classic"),
}
ALL = tuple(CALLS) + ("wsgi", "asgi")


def _code(target):
    """The code object behind a function, a method or an object that can be called."""
    for each in (target, getattr(target, "__func__", None), getattr(type(target), "__call__", None)):
        while hasattr(each, "__wrapped__"):
            each = each.__wrapped__
        if hasattr(each, "__code__"):
            return each.__code__
    return None


def arguments(target):
    """The names of its positional arguments, without `self`. `inspect` would be slow to import."""
    code = _code(target)
    if code is None:
        import inspect

        try:
            return tuple(inspect.signature(target).parameters)
        except (TypeError, ValueError):
            return ()
    names = code.co_varnames[:code.co_argcount]
    return names[1:] if names[:1] == ("self",) else names


def is_async(target):
    code = _code(target)
    return code is not None and bool(code.co_flags & (COROUTINE | ASYNC_GENERATOR))


def find(name, target):
    """The calling style, from the handler's name and arguments."""
    names = arguments(target)
    if names[:3] == ("scope", "receive", "send") or (is_async(target) and len(names) == 3):
        return "asgi"
    if names[:2] == ("environ", "start_response"):
        return "wsgi"
    if name in ("app", "application") and not hasattr(target, "__code__"):
        return "wsgi"  # an object, as frameworks have them
    if name == "handle":
        return "request" if len(names) == 1 else "event-context"
    return "json"
