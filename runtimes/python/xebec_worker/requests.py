"""What comes in: requests out of bytes. Nothing here does I/O."""

MAX_HEAD = 1 << 20  # bytes of request line and headers


class BadRequest(Exception):
    """A request that is not HTTP as the worker speaks it."""


class Disconnected(Exception):
    """The other side went away in the middle."""


class Headers(dict):
    """Headers by lower-case name; looked up in any case."""

    __slots__ = ()

    def __getitem__(self, name):
        return dict.__getitem__(self, name.lower())

    def __contains__(self, name):
        return dict.__contains__(self, name.lower())

    def get(self, name, default=None):
        return dict.get(self, name.lower(), default)


class Query(dict):
    """Query parameters: the first value of each by index, all of them by `getlist`."""

    __slots__ = ("_all",)

    def __init__(self, text):
        self._all = {}
        if text:
            from urllib.parse import parse_qs

            self._all = parse_qs(text, keep_blank_values=True)
        dict.__init__(self, ((name, values[0]) for name, values in self._all.items()))

    def getlist(self, name):
        return list(self._all.get(name, ()))


class Request:
    """One request: its head, and how its body is framed."""

    __slots__ = ("method", "target", "http_1_0", "headers", "length", "chunked", "keep_alive")

    def __init__(self, head):
        lines = head.decode("latin-1").split("\r\n")
        parts = lines[0].split(" ")
        if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
            raise BadRequest("not an HTTP/1.1 request line: %r" % lines[0][:100])
        self.method, self.target, version = parts
        self.http_1_0 = version == "HTTP/1.0"
        self.headers = headers = Headers()
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if not colon or not name or name != name.strip():
                raise BadRequest("not a header: %r" % line[:100])
            name, value = name.lower(), value.strip()
            if dict.__contains__(headers, name):
                value = dict.__getitem__(headers, name) + ("; " if name == "cookie" else ", ") + value
            dict.__setitem__(headers, name, value)
        get = dict.get
        coding = get(headers, "transfer-encoding")
        self.chunked = coding is not None
        if coding is not None and coding.lower() != "chunked":
            raise BadRequest("unknown transfer encoding %r" % coding[:100])
        length = get(headers, "content-length", "0")
        if not (length.isascii() and length.isdigit()):
            raise BadRequest("not a content length: %r" % length[:100])
        self.length = 0 if self.chunked else int(length)
        connection = get(headers, "connection", "").lower()
        self.keep_alive = connection == "keep-alive" if self.http_1_0 else connection != "close"

    @property
    def path(self):
        """The path, percent-decoded."""
        path = self.target.partition("?")[0]
        if "%" not in path:
            return path
        from urllib.parse import unquote

        return unquote(path)

    @property
    def query_string(self):
        return self.target.partition("?")[2]

    def server(self):
        """The host and port that the caller named."""
        name = self.headers.get("host", "localhost")
        host, _, port = name.rpartition(":")
        return (host, int(port)) if host and port.isdigit() else (name, 80)


class Incoming:
    """Requests out of the bytes of one connection. Does no I/O: `None` means that it needs to be fed."""

    __slots__ = ("buffer", "request", "left", "over")

    def __init__(self):
        self.buffer = b""
        self.request = None
        self.left = 0
        self.over = True

    def feed(self, data):
        if not data:
            raise Disconnected
        self.buffer = self.buffer + data if self.buffer else data

    def head(self):
        """The next request, or `None`."""
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self.buffer) > MAX_HEAD:
                raise BadRequest("the head is larger than %d bytes" % MAX_HEAD)
            return None
        self.request = request = Request(self.buffer[:end])
        self.buffer = self.buffer[end + 4:]
        self.left = request.length
        self.over = not request.chunked and self.left == 0
        return request

    def chunk(self):
        """Some bytes of the body, `b""` at its end, or `None`."""
        if self.over:
            return b""
        if self.left == 0 and not self._next_chunk():
            return b"" if self.over else None
        if not self.buffer:
            return None
        data = self.buffer[:self.left]
        self.buffer = self.buffer[len(data):]
        self.left -= len(data)
        if self.left == 0:
            self.over = not self.request.chunked
        return data

    def _next_chunk(self):
        """Reads a chunk's size line, and past the end of the one before. True if a chunk follows."""
        # Between chunks stands the line end of the last one; skipping leading ones covers both cases.
        text = self.buffer[2:] if self.buffer.startswith(b"\r\n") else self.buffer
        end = text.find(b"\r\n")
        if end < 0:
            if len(text) > 4096:
                raise BadRequest("a chunk's size line is too long")
            return False
        size = text[:end].partition(b";")[0].strip()
        try:
            self.left = int(size, 16)
        except ValueError:
            raise BadRequest("not a chunk size: %r" % size[:100]) from None
        if self.left < 0:
            raise BadRequest("not a chunk size: %r" % size[:100])
        if self.left > 0:
            self.buffer = text[end + 2:]
            return True
        # The last chunk; trailers may follow, then an empty line.
        done = text.find(b"\r\n\r\n", end)
        if done < 0:
            if len(text) > MAX_HEAD:
                raise BadRequest("the trailers are too long")
            return False
        self.buffer = text[done + 4:]
        self.over = True
        return False
