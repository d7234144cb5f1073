"""Serving plain functions with blocking I/O: one call at a time, or a thread per connection."""

import select

import _signal
import _socket
import _thread

from .requests import BadRequest, Disconnected, Incoming, Request
from .responses import failure, print_trace, refusal, respond

READ_SIZE = 1 << 16


class Server:
    """Serves calls of plain functions and of WSGI applications."""

    def __init__(self, listener, call):
        self.listener = listener
        self.call = call
        self.main = _thread.get_ident()
        self.lock = _thread.allocate_lock()
        self.busy = 0
        self.stopping = False

    def stop(self, *_):
        """SIGTERM, always in the main thread: ends now if idle, else after the calls in flight."""
        self.stopping = True
        if self.busy == 0:
            raise SystemExit(0)

    def begin(self):
        with self.lock:
            self.busy += 1

    def end(self):
        with self.lock:
            self.busy -= 1
        if self.stopping and self.busy == 0:
            _signal.pthread_kill(self.main, _signal.SIGTERM)  # it waits for connections, or is this thread

    def serve_in_turn(self):
        """One call at a time, all in the main thread: no other thread to hand the interpreter to."""
        poll = select.poll()
        poll.register(self.listener.fileno(), select.POLLIN)
        connections = {}
        while True:
            for number, _ in poll.poll():
                connection = connections.get(number)
                if connection is None:
                    accepted = self.accept()
                    connections[accepted.number] = accepted
                    poll.register(accepted.number, select.POLLIN)
                elif not connection.serve(self):
                    poll.unregister(number)
                    del connections[number]
                    connection.close()

    def serve_in_threads(self):
        """A thread per connection. How many calls are in flight is the other side's to limit."""
        import threading

        while True:
            connection = self.accept()
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection):
        while connection.serve(self):
            pass
        connection.close()

    def accept(self):
        number, _ = self.listener._accept()
        return Connection(_socket.socket(fileno=number))


class Connection:
    """One connection."""

    __slots__ = ("socket", "number", "incoming")

    def __init__(self, socket):
        self.socket = socket
        self.number = socket.fileno()
        self.incoming = Incoming()

    def close(self):
        self.socket.close()

    def serve(self, server):
        """Serves the requests that are there. False if the connection is over."""
        incoming = self.incoming
        try:
            while True:
                request = incoming.head()
                while request is None:
                    incoming.feed(self.socket.recv(READ_SIZE))
                    request = incoming.head()
                server.begin()
                try:
                    server.call(self, request)
                    while self.chunk():  # what the function left unread
                        pass
                finally:
                    server.end()
                if not request.keep_alive:
                    return False
                if not incoming.buffer:
                    return True
        except BadRequest as error:
            self._refuse(error)
            return False
        except (Disconnected, OSError):
            return False

    def _refuse(self, error):
        try:
            self.send(Request(b"GET / HTTP/1.0"), refusal(error))
        except OSError:
            pass

    def chunk(self):
        """Some bytes of the request's body, `b""` at its end."""
        data = self.incoming.chunk()
        while data is None:
            self.incoming.feed(self.socket.recv(READ_SIZE))
            data = self.incoming.chunk()
        return data

    def body(self):
        """The whole body."""
        part = self.chunk()
        if self.incoming.over:
            return part
        parts = []
        while part:
            parts.append(part)
            part = self.chunk()
        return b"".join(parts)

    def send(self, request, response):
        """Sends a response. Raises `OSError` where the other side is gone, `Disconnected` where the
        function's own iterator failed in the middle: breaking the connection is all that can tell then."""
        head, chunked = response.head(request)
        body = response.body
        if not response.has_body(request):
            self.socket.sendall(head)
        elif isinstance(body, bytes):
            if len(body) <= READ_SIZE:
                self.socket.sendall(head + body)
            else:
                self.socket.sendall(head)
                self.socket.sendall(body)
        else:
            self.socket.sendall(head)
            self.send_parts(body, chunked)

    def send_parts(self, parts, chunked):
        for part in guarded(parts):
            if part:
                self.socket.sendall(b"%x\r\n%b\r\n" % (len(part), part) if chunked else part)
        if chunked:
            self.socket.sendall(b"0\r\n\r\n")


def guarded(parts):
    """The same parts; a failure of theirs is printed and breaks the connection."""
    try:
        yield from parts
    except GeneratorExit:
        raise
    except BaseException as error:
        print_trace(error)
        raise Disconnected from None


def with_first(parts):
    """Runs an iterator up to its first part, so that what fails before it can still be answered."""
    parts = iter(parts)
    first = next(parts, b"")

    def rest():
        yield first
        yield from parts

    return rest()


def plain_call(call):
    """Serves a call of a plain function."""

    def serve(connection, request):
        body = connection.body()
        try:
            response = respond(call(request, body))
            if not isinstance(response.body, bytes):
                response.body = with_first(response.body)
            response.head(request)  # a bad header must fail before anything is sent
        except BaseException as error:
            print_trace(error)
            response = failure(error)
        connection.send(request, response)

    return serve
