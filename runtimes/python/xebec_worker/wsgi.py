"""Serving WSGI applications (PEP 3333)."""

import io
import sys

from .responses import Response, declared_length, failure, print_trace


class Input(io.RawIOBase):
    """The request's body as it arrives."""

    def __init__(self, connection):
        self.connection = connection
        self.rest = b""

    def readable(self):
        return True

    def readinto(self, target):
        if not self.rest:
            self.rest = self.connection.chunk()
        part = self.rest[:len(target)]
        self.rest = self.rest[len(part):]
        target[:len(part)] = part
        return len(part)


class Call:
    """One call of an application."""

    def __init__(self, application, connection, request):
        self.application = application
        self.connection = connection
        self.request = request
        self.response = None
        self.written = []
        self.sent = False  # the head is out

    def start_response(self, status, headers, exc_info=None):
        if exc_info:
            if self.sent:
                raise exc_info[1].with_traceback(exc_info[2])
        elif self.response is not None:
            raise AssertionError("start_response was called twice")
        number, _, reason = status.partition(" ")
        self.response = Response(int(number), headers, None, reason, declared_length(headers))
        return self.written.append  # PEP 3333's old way: what is written goes before what is iterated

    def run(self):
        environ = environment(self.request, io.BufferedReader(Input(self.connection)))
        body = None
        try:
            try:
                body = self.application(environ, self.start_response)
                parts = iter(body)
                first = next(parts, b"")  # the application may call start_response as late as here
                response = self.response
                if response is None:
                    raise AssertionError("start_response was not called")
                first = b"".join(self.written) + first
                if response.length is None and isinstance(body, (list, tuple)) and len(body) <= 1:
                    response.length = len(first)
                head, chunked = response.head(self.request)
            except BaseException as error:
                print_trace(error)
                return self.connection.send(self.request, failure(error))
            self.sent = True
            if not response.has_body(self.request):
                self.connection.socket.sendall(head)
            elif response.length == len(first):
                self.connection.socket.sendall(head + first)
            else:
                self.connection.socket.sendall(head)
                self.connection.send_parts(chain(first, parts), chunked)
        finally:
            if hasattr(body, "close"):
                body.close()


def chain(first, parts):
    yield first
    yield from parts


def wsgi_call(application):
    """Serves a call of a WSGI application."""
    return lambda connection, request: Call(application, connection, request).run()


def environment(request, body):
    host, port = request.server()
    environ = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": request.path.encode("utf-8", "surrogateescape").decode("latin-1"),
        "QUERY_STRING": request.query_string,
        "SERVER_NAME": host,
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": "HTTP/1.0" if request.http_1_0 else "HTTP/1.1",
        "REMOTE_ADDR": request.headers.get("x-forwarded-for", "").partition(",")[0],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": request.headers.get("x-forwarded-proto", "http"),
        "wsgi.input": body,
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in request.headers.items():
        name = name.upper().replace("-", "_")
        environ[name if name in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + name] = value
    return environ
