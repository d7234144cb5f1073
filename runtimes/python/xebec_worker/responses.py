"""What goes out: responses out of what functions return. Nothing here does I/O but the trace's printing."""

import sys

REASONS = {
    200: "OK", 201: "Created", 202: "Accepted", 204: "No Content", 206: "Partial Content",
    301: "Moved Permanently", 302: "Found", 303: "See Other", 304: "Not Modified", 307: "Temporary Redirect",
    308: "Permanent Redirect", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
    405: "Method Not Allowed", 409: "Conflict", 413: "Content Too Large", 422: "Unprocessable Content",
    429: "Too Many Requests", 500: "Internal Server Error", 502: "Bad Gateway", 503: "Service Unavailable",
}
OWN_HEADERS = ("connection", "keep-alive", "transfer-encoding", "content-length", "upgrade")
TEXT, JSON, BYTES = "text/plain; charset=utf-8", "application/json", "application/octet-stream"


class Response:
    """An answer. Its body is bytes, or an iterator of bytes, plain or asynchronous."""

    __slots__ = ("status", "reason", "headers", "body", "length")

    def __init__(self, status, headers, body, reason=None, length=None):
        self.status = status
        self.reason = reason
        self.headers = headers
        self.body = body
        self.length = len(body) if isinstance(body, bytes) else length

    def head(self, request):
        """The bytes before the body, and whether the body goes out in chunks."""
        status = self.status
        lines = ["HTTP/1.1 %d %s" % (status, self.reason or REASONS.get(status, "Unknown"))]
        for name, value in self.headers:
            name, value = str(name), str(value)
            if "\r" in value or "\n" in value or not name or not set(name).isdisjoint("\r\n: "):
                raise ValueError("not a header: %r: %r" % (name, value))
            if name.lower() not in OWN_HEADERS:
                lines.append(name + ": " + value)
        chunked = False
        if status >= 200 and status not in (204, 304):
            if self.length is not None:
                lines.append("content-length: %d" % self.length)
            elif request.http_1_0:
                request.keep_alive = False
            else:
                lines.append("transfer-encoding: chunked")
                chunked = True
        if not request.keep_alive:
            lines.append("connection: close")
        lines.append("\r\n")
        return "\r\n".join(lines).encode("latin-1", "replace"), chunked

    def has_body(self, request):
        return request.method != "HEAD" and self.status >= 200 and self.status not in (204, 304)


def failure(error):
    """What the caller sees of an exception. The trace is for the log only."""
    text = "the function raised %s; its log has the trace\n" % type(error).__name__
    return Response(500, [("content-type", TEXT), ("x-xebec-error", "function")], text.encode("utf-8", "replace"))


def refusal(error):
    return Response(400, [("content-type", TEXT)], ("%s\n" % error).encode("utf-8", "replace"))


def encode(value, text=TEXT):
    """A returned body as (content type, bytes or iterator); `text` is the type of what is text."""
    if value is None:
        return None, b""
    if isinstance(value, str):
        return text, value.encode("utf-8", "surrogatepass")
    if isinstance(value, (bytes, bytearray, memoryview)):
        return BYTES, bytes(value)
    if isinstance(value, (dict, list, tuple, int, float)):
        import json

        return JSON, json.dumps(value).encode()
    if hasattr(value, "__await__"):
        raise TypeError("the function returned an awaitable: define it with async def")
    if hasattr(value, "__aiter__"):
        return text, _encode_async(value)
    if hasattr(value, "__iter__"):
        return text, (part.encode() if isinstance(part, str) else bytes(part) for part in value)
    return text, str(value).encode()


async def _encode_async(parts):
    async for part in parts:
        yield part.encode() if isinstance(part, str) else bytes(part)


SHAPE = frozenset(("statusCode", "body", "headers", "multiValueHeaders", "cookies", "isBase64Encoded"))


def respond(result, text=TEXT):
    """What a handler returned, as a response.

    A dict with `statusCode`, or with nothing but the keys of a response, is one; any other value is the
    body; a tuple is (body, status) or (body, status, headers).
    """
    if isinstance(result, Response):
        return result
    status, headers, body = 200, [], result
    if isinstance(result, dict) and ("statusCode" in result or (result and SHAPE.issuperset(result))):
        status = int(result.get("statusCode") or 200)
        headers = header_pairs(result.get("headers"))
        headers += header_pairs(result.get("multiValueHeaders"))
        headers += [("set-cookie", cookie) for cookie in result.get("cookies") or ()]
        body = result.get("body")
        if result.get("isBase64Encoded") and body:
            from base64 import b64decode

            body = b64decode(body)
    elif isinstance(result, tuple) and len(result) in (2, 3) and _is_status(result[1]):
        body, status = result[:2]
        headers = header_pairs(result[2]) if len(result) == 3 else []
    if not _is_status(status):
        raise ValueError("not an HTTP status: %r" % (status,))
    kind, body = encode(body, text)
    if kind and not any(name.lower() == "content-type" for name, _ in headers):
        headers.append(("content-type", kind))
    return Response(status, headers, body)


def _is_status(value):
    return isinstance(value, int) and not isinstance(value, bool) and 200 <= value <= 999


def header_pairs(headers):
    """Headers of a dict or of pairs; a list as value is several headers."""
    pairs = []
    for name, value in headers.items() if hasattr(headers, "items") else headers or ():
        for each in value if isinstance(value, (list, tuple)) else (value,):
            pairs.append((str(name), str(each)))
    return pairs


def declared_length(headers):
    """The body's length where the application names it."""
    for name, value in headers:
        if name.lower() == "content-length" and str(value).isdigit():
            return int(value)
    return None


HERE = __file__.rpartition("/")[0] + "/"


def print_trace(error):
    """Prints an exception without the worker's own frames at its top. `traceback` would be slow to import."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None and _is_own(trace.tb_frame):
        trace = trace.tb_next
    sys.__excepthook__(type(error), error.with_traceback(trace), trace)
    sys.stderr.flush()


def _is_own(frame):
    name = frame.f_code.co_filename
    return name.startswith(HERE) or name.startswith("<frozen importlib")
