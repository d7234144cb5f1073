"""The calling styles of OpenFaaS' Python templates, where these differ from our own.

`python3-http` and `python3-flask` answer through Flask there, whose text is HTML unless a header says otherwise.
The classic `python3` is a process per call: what it prints is its answer.
"""

import os
import sys

from .responses import JSON, Response, encode, respond
from .styles import Context, Event

HTML = "text/html; charset=utf-8"
YES = ("1", "true")


def style_http(target, function):
    """`handle(event, context)` returning `{statusCode, body, headers}`."""

    async def later(result):
        return as_html(respond(await result, HTML))

    def call(request, body):
        result = target(Event(request, body), Context(request, function))
        return later(result) if hasattr(result, "__await__") else as_html(respond(result, HTML))

    return call


def style_flask(target, function):
    """`handle(req)` returning what a Flask view returns."""
    raw = os.environ.get("RAW_BODY", "").lower() in YES

    def call(request, body):
        return as_html(view(target(body if raw else body.decode("utf-8", "replace"))))

    return call


def view(result):
    """What a Flask view returned, as a response: a body, or a tuple with status, headers or both after it."""
    if isinstance(result, tuple) and len(result) == 2 and not isinstance(result[1], int):
        result = (result[0], 200, result[1])
    if isinstance(result, (dict, list)):
        return Response(200, [("content-type", JSON)], encode(result)[1])
    return respond(result, HTML)


def as_html(response):
    """Flask gives a type to what is empty, too, and to bytes."""
    if not any(name.lower() == "content-type" for name, _ in response.headers):
        response.headers.append(("content-type", HTML))
    return response


def style_classic(target, function):
    """`handle(req)`: what it prints, and then what it returns, is the answer."""
    return Classic(target)


class Classic:
    """Calls of a function that thinks it is a process of its own: one at a time, its output and its variables are
    the process'."""

    def __init__(self, target):
        import _thread

        self.target = target
        self.turn = _thread.allocate_lock()
        self.output = temporary_file()
        self.kept = [os.dup(1), os.dup(2)]
        combine = os.environ.get("combine_output", "true").lower() in YES
        self.captured = (1, 2) if combine else (1,)
        self.variables = os.environ.get("cgi_headers", "true").lower() in YES
        self.content_type = os.environ.get("content_type")

    def __call__(self, request, body):
        with self.turn:
            return self.answer(request, body)

    def answer(self, request, body):
        names = set_variables(request, body) if self.variables else ()
        flush()
        os.lseek(self.output, 0, os.SEEK_SET)
        os.ftruncate(self.output, 0)
        for number in self.captured:
            os.dup2(self.output, number)
        failed = True
        try:
            result = self.target(body.decode("utf-8", "replace"))
            if result is not None:
                print(result)
            failed = False
        except SystemExit as error:
            if isinstance(error.code, str):
                print(error.code, file=sys.stderr)
            failed = error.code not in (None, 0)
        except BaseException as error:
            from .responses import print_trace

            print_trace(error)
        finally:
            flush()
            for number in self.captured:
                os.dup2(self.kept[number - 1], number)
            for name in names:
                os.environ.pop(name, None)
        return self.response(request, failed)

    def response(self, request, failed):
        with open(os.dup(self.output), "rb") as file:
            file.seek(0)
            text = file.read()
        kind = self.content_type or request.headers.get("content-type") or "text/plain"
        if failed:
            sys.stderr.buffer.write(text)
            sys.stderr.flush()
            return Response(500, [("content-type", "text/plain"), ("x-xebec-error", "function")], text)
        return Response(200, [("content-type", kind)], text)


def temporary_file():
    if hasattr(os, "memfd_create"):
        return os.memfd_create("answer")
    import tempfile

    return os.dup(tempfile.TemporaryFile().fileno())


def flush():
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except ValueError:  # the function closed it
            pass


def set_variables(request, body):
    """Tells the function about its request as a classic watchdog does; returns the names."""
    variables = {
        "Http_Method": request.method, "Http_Path": request.path, "Http_Host": request.headers.get("host", ""),
        "Http_ContentLength": str(len(body)), "Http_Content_Length": str(len(body)),
    }
    if request.query_string:
        variables["Http_Query"] = request.query_string
    for name, value in request.headers.items():
        # A library may take `Http_Proxy` for a proxy's address.
        if name not in ("host", "proxy", "content-length"):
            variables["Http_" + "_".join(part.capitalize() for part in name.split("-"))] = value
    names = []
    for name, value in variables.items():
        if "\0" not in value:
            os.environ[name] = value
            names.append(name)
    return names
