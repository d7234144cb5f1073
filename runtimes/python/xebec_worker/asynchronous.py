"""Serving coroutines and ASGI applications: all connections on one event loop."""

import asyncio
import signal
import socket

from .requests import BadRequest, Disconnected, Incoming, Request
from .responses import Response, declared_length, failure, print_trace, refusal, respond
from .styles import CALLS

READ_SIZE = 1 << 16


def run(listener, ready, style, target, function):
    """Serves `target` until the process is told to stop."""
    asyncio.run(_run(listener, ready, style, target, function))


async def _run(listener, ready, style, target, function):
    if style != "asgi":
        return await serve(listener, async_call(CALLS[style](target, function)), ready)
    stop = await asgi_lifespan(target)
    await serve(listener, asgi_call(target), ready)
    await stop()


async def serve(listener, call, ready):
    """Takes connections, all on one event loop."""
    loop = asyncio.get_running_loop()
    listener = socket.socket(fileno=listener.detach())
    listener.setblocking(False)
    busy, stopping = set(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)

    async def talk(client):
        connection = AsyncConnection(client, loop)
        try:
            while await connection.serve(call, busy):
                if stopping.is_set():
                    break
        except (OSError, Disconnected):
            pass
        finally:
            client.close()

    async def accept():
        tasks = set()  # the loop itself keeps only weak references
        while True:
            client, _ = await loop.sock_accept(listener)
            client.setblocking(False)
            task = loop.create_task(talk(client))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    accepting = loop.create_task(accept())
    ready()
    await stopping.wait()
    while busy:
        await asyncio.sleep(0.01)
    accepting.cancel()


class AsyncConnection:
    """One connection on the event loop."""

    def __init__(self, client, loop):
        self.client = client
        self.loop = loop
        self.incoming = Incoming()

    async def _feed(self):
        self.incoming.feed(await self.loop.sock_recv(self.client, READ_SIZE))

    async def chunk(self):
        data = self.incoming.chunk()
        while data is None:
            await self._feed()
            data = self.incoming.chunk()
        return data

    async def body(self):
        parts = []
        while not parts or parts[-1]:
            parts.append(await self.chunk())
        return b"".join(parts)

    async def write(self, data):
        await self.loop.sock_sendall(self.client, data)

    async def serve(self, call, busy):
        """Serves one request. False if the connection is over."""
        request = None
        try:
            request = self.incoming.head()
            while request is None:
                await self._feed()
                request = self.incoming.head()
            token = object()
            busy.add(token)
            try:
                await call(self, request)
                while await self.chunk():
                    pass
            finally:
                busy.discard(token)
            return request.keep_alive
        except BadRequest as error:
            response = refusal(error)
            await self.write(response.head(Request(b"GET / HTTP/1.0"))[0] + response.body)
            return False

    async def send(self, request, response):
        """As `blocking.Connection.send`."""
        head, chunked = response.head(request)
        body = response.body
        if not response.has_body(request):
            await self.write(head)
        elif isinstance(body, bytes):
            await self.write(head + body)
        else:
            await self.write(head)
            async for part in guarded(body):
                await self.write(b"%x\r\n%b\r\n" % (len(part), part) if chunked else part)
            if chunked:
                await self.write(b"0\r\n\r\n")


async def guarded(parts):
    """The same parts, empty ones left out; a failure of theirs is printed and breaks the connection."""
    try:
        if hasattr(parts, "__aiter__"):
            async for part in parts:
                if part:
                    yield part
        else:
            for part in parts:
                if part:
                    yield part
    except (GeneratorExit, asyncio.CancelledError):
        raise
    except BaseException as error:
        print_trace(error)
        raise Disconnected from None


async def with_first(parts):
    """Runs an iterator up to its first part, so that what fails before it can still be answered."""
    if not hasattr(parts, "__aiter__"):
        return parts
    parts = parts.__aiter__()
    try:
        first = await parts.__anext__()
    except StopAsyncIteration:
        first = b""

    async def rest():
        yield first
        async for part in parts:
            yield part

    return rest()


def async_call(call):
    """Serves a call of an `async def` function."""

    async def serve_call(connection, request):
        body = await connection.body()
        try:
            result = call(request, body)
            if hasattr(result, "__await__"):
                result = await result
            response = respond(result)
            if not isinstance(response.body, bytes):
                response.body = await with_first(response.body)
            response.head(request)  # a bad header must fail before anything is sent
        except BaseException as error:
            print_trace(error)
            response = failure(error)
        await connection.send(request, response)

    return serve_call


class AsgiCall:
    """One call of an ASGI application (version 3, HTTP)."""

    def __init__(self, connection, request):
        self.connection = connection
        self.request = request
        self.response = None
        self.received = False  # the whole request was handed over
        self.sent = False  # the head is out
        self.chunked = False
        self.finished = False
        self.gone = False  # the other side is
        self.ended = asyncio.Event()

    async def receive(self):
        if self.received:
            await self.ended.wait()
            return {"type": "http.disconnect"}
        part = await self.connection.chunk()
        self.received = self.connection.incoming.over
        return {"type": "http.request", "body": part, "more_body": not self.received}

    async def send(self, message):
        kind = message["type"]
        if kind == "http.response.start":
            headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in message["headers"]]
            self.response = Response(message["status"], headers, None, length=declared_length(headers))
        elif kind == "http.response.body":
            if self.response is None:
                raise RuntimeError("http.response.body came before http.response.start")
            if not self.finished:
                await self._send_body(bytes(message.get("body", b"")), message.get("more_body", False))

    async def _send_body(self, part, more):
        self.finished = not more
        out = b""
        if not self.sent:
            if self.finished and self.response.length is None:
                self.response.length = len(part)
            out, self.chunked = self.response.head(self.request)
            self.sent = True
        if self.response.has_body(self.request):
            if part:
                out += b"%x\r\n%b\r\n" % (len(part), part) if self.chunked else part
            if self.finished and self.chunked:
                out += b"0\r\n\r\n"
        try:
            await self.connection.write(out)
        except OSError:
            self.gone = True
            self.ended.set()
            raise

    async def run(self, application):
        try:
            await application(asgi_scope(self.request), self.receive, self.send)
            if not self.finished:
                raise RuntimeError("the application returned before its answer was complete")
        except BaseException as error:
            if self.gone:
                raise Disconnected from None
            print_trace(error)
            if self.sent:
                raise Disconnected from None
            await self.connection.send(self.request, failure(error))
        finally:
            self.ended.set()


def asgi_call(application):
    """Serves a call of an ASGI application."""
    return lambda connection, request: AsgiCall(connection, request).run(application)


def asgi_scope(request):
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.0" if request.http_1_0 else "1.1",
        "method": request.method,
        "scheme": request.headers.get("x-forwarded-proto", "http"),
        "path": request.path,
        "raw_path": request.target.partition("?")[0].encode("latin-1"),
        "query_string": request.query_string.encode("latin-1"),
        "root_path": "",
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in request.headers.items()],
        "server": request.server(),
        "client": None,
        "state": {},
    }


async def asgi_lifespan(application):
    """Tells the application that it starts; returns what tells it that it stops. Applications that know no
    lifespan raise, which is fine."""
    loop = asyncio.get_running_loop()
    inbox, outcome = asyncio.Queue(), loop.create_future()

    async def send(message):
        if outcome.done():
            return
        if message["type"] == "lifespan.startup.complete":
            outcome.set_result("")
        elif message["type"] == "lifespan.startup.failed":
            outcome.set_result("the application failed to start: %s" % message.get("message", ""))

    async def talk():
        try:
            scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.3"}, "state": {}}
            await application(scope, inbox.get, send)
        except Exception:
            pass
        if not outcome.done():
            outcome.set_result("")

    await inbox.put({"type": "lifespan.startup"})
    task = loop.create_task(talk())
    fault = await outcome
    if fault:
        raise SystemExit(fault)

    async def stop():
        await inbox.put({"type": "lifespan.shutdown"})
        await asyncio.wait([task], timeout=5)

    return stop
