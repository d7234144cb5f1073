"""Runs the worker as the server does, and calls it over its sockets. `python3 -m unittest` in this folder."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
import unittest

RUNTIME = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
START = "import sys; sys.path.insert(0, sys.argv[1]); from xebec_worker import main; del sys.path[0]; main()"


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(self.path)


def launch(blank):
    """Starts a worker; returns it and the control socket."""
    ours, theirs = socket.socketpair()
    ours.settimeout(60)
    environment = {"XEBEC_CONTROL": str(theirs.fileno()), "PATH": os.environ["PATH"]}
    if blank:
        environment["XEBEC_BLANK"] = "1"
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", START, RUNTIME], pass_fds=[theirs.fileno()],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )
    theirs.close()
    return process, ours


class Worker:
    """One worker process with its two sockets."""

    def __init__(self, files, blank=False, **message):
        self.directory = tempfile.TemporaryDirectory()
        self.code = os.path.join(self.directory.name, "app")
        for name, text in files.items():
            path = os.path.join(self.code, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w") as file:
                file.write(textwrap.dedent(text))
        self.socket = os.path.join(self.directory.name, "http.sock")
        self.process, self.control = launch(blank)
        self.lines = self.control.makefile("rb")
        if blank:
            assert self.lines.readline() == b"blank\n"
        message = dict({"code": self.code, "socket": self.socket, "function": "test"}, **message)
        self.control.sendall(json.dumps(message).encode() + b"\n")
        self.ready = self.lines.readline() == b"ready\n"
        self.connection = UnixConnection(self.socket)

    def call(self, body=None, path="/", method=None, headers=None, connection=None):
        connection = connection or self.connection
        connection.request(method or ("GET" if body is None else "POST"), path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.read(), dict((n.lower(), v) for n, v in response.getheaders())

    def end(self):
        """Ends it; returns exit code and what it printed."""
        self.connection.close()
        self.lines.close()
        self.control.close()
        if self.ready:
            self.process.send_signal(signal.SIGTERM)
        out, err = self.process.communicate(timeout=60)
        self.directory.cleanup()
        return self.process.returncode, out.decode(), err.decode()


class Base(unittest.TestCase):
    def worker(self, source, name="handler.py", files=None, **options):
        worker = Worker(dict({name: source}, **(files or {})), **options)
        if not worker.ready:
            self.fail(worker.end()[2])
        self.addCleanup(worker.end)
        return worker

    def fails(self, source, name="handler.py", **options):
        worker = Worker({name: source}, **options)
        self.assertFalse(worker.ready)
        code, _, err = worker.end()
        self.assertEqual(code, 1, err)
        return err


class Styles(Base):
    def test_request(self):
        worker = self.worker("def handle(req):\n    return 'got ' + req")
        self.assertEqual(worker.call("hällo".encode())[:2], (200, "got hällo".encode()))
        self.assertEqual(worker.call()[1], b"got ")

    def test_request_with_bytes_that_are_no_text(self):
        worker = self.worker("def handle(req):\n    return repr(req)")
        self.assertEqual(worker.call(b"\xff")[1], b"b'\\xff'")

    def test_request_results(self):
        worker = self.worker(
            """
            def handle(req):
                return {
                    "none": None, "bytes": b"x", "dict": {"a": 1}, "list": [1], "number": 7,
                    "status": ("made", 201), "headers": ("made", 201, {"x-a": "b"}),
                }[req]
            """
        )
        expected = {
            "none": (200, b"", None), "bytes": (200, b"x", "application/octet-stream"),
            "dict": (200, b'{"a": 1}', "application/json"), "list": (200, b"[1]", "application/json"),
            "number": (200, b"7", "application/json"), "status": (201, b"made", "text/plain; charset=utf-8"),
        }
        for name, (status, body, kind) in expected.items():
            answer = worker.call(name)
            self.assertEqual((answer[0], answer[1], answer[2].get("content-type")), (status, body, kind), name)
        self.assertEqual(worker.call("headers")[2]["x-a"], "b")

    def test_event_context(self):
        worker = self.worker(
            """
            def handle(event, context):
                return {
                    "statusCode": 202,
                    "headers": {"X-Kind": event.headers["Content-Type"], "Set-Cookie": ["a=1", "b=2"]},
                    "body": {
                        "body": event.body.decode(), "method": event.method, "path": event.path,
                        "a": event.query["a"], "all": event.query.getlist("a"), "none": event.query.get("z"),
                        "host": context.hostname, "name": context.function_name, "id": context.call_id,
                    },
                }
            """
        )
        status, body, headers = worker.call(
            b"hi", "/a%20b?a=1&a=2", "PUT", {"content-type": "text/x", "X-Call-Id": "call-1"}
        )
        self.assertEqual((status, headers["x-kind"]), (202, "text/x"))
        self.assertEqual(
            json.loads(body),
            {"body": "hi", "method": "PUT", "path": "/a b", "a": "1", "all": ["1", "2"], "none": None,
             "host": "localhost", "name": "test", "id": "call-1"},
        )

    def test_event_context_base64(self):
        worker = self.worker(
            "def handle(event, context):\n    return {'statusCode': 200, 'isBase64Encoded': True, 'body': 'AAE='}"
        )
        self.assertEqual(worker.call()[1], b"\x00\x01")

    def test_json(self):
        worker = self.worker("def handler(event, context):\n    return {'got': event}")
        self.assertEqual(json.loads(worker.call('{"a": [1]}')[1]), {"got": {"a": [1]}})
        self.assertEqual(json.loads(worker.call("text")[1]), {"got": "text"})
        self.assertEqual(json.loads(worker.call()[1]), {"got": None})

    def test_json_without_context(self):
        worker = self.worker("def main(params):\n    return {'got': params}", "main.py")
        self.assertEqual(json.loads(worker.call("1")[1]), {"got": 1})

    def test_wsgi(self):
        worker = self.worker(
            """
            def application(environ, start_response):
                body = environ["wsgi.input"].read()
                write = start_response("201 Made", [("Content-Type", "text/x"), ("X-Path", environ["PATH_INFO"])])
                write(b"first ")
                return [body, b" ", environ["QUERY_STRING"].encode(), b" ", environ["HTTP_X_A"].encode()]
            """,
            "wsgi.py",
        )
        status, body, headers = worker.call(b"x" * 200_000, "/p%C3%A4th?q=1", headers={"x-a": "b"})
        self.assertEqual((status, body), (201, b"first " + b"x" * 200_000 + b" q=1 b"))
        self.assertEqual(headers["content-type"], "text/x")

    def test_wsgi_object_that_answers_late_and_is_closed(self):
        worker = self.worker(
            """
            class Body:
                def __init__(self, start): self.start, self.left = start, 2
                def __iter__(self): return self
                def __next__(self):
                    if self.left == 2: self.start("200 OK", [])
                    if not self.left: raise StopIteration
                    self.left -= 1
                    return b"part"
                def close(self): print("closed")
            class App:
                def __call__(self, env, start): return Body(start)
            app = App()
            """,
            "app.py",
        )
        self.assertEqual(worker.call()[:2], (200, b"partpart"))
        self.assertIn("closed", worker.end()[1])

    def test_wsgi_failures(self):
        worker = self.worker(
            """
            def application(environ, start_response):
                if environ["PATH_INFO"] == "/early": raise OSError("early")
                start_response("200 OK", [])
                return late()
            def late():
                yield b"a"
                raise OSError("late")
            """
        )
        self.assertEqual(worker.call(path="/early")[0], 500)
        with self.assertRaises(http.client.HTTPException):
            worker.call(path="/late")
        worker.connection.close()
        self.assertEqual(worker.call(path="/early")[2]["x-xebec-error"], "function")
        self.assertIn("OSError: late", worker.end()[2])

    def test_asgi(self):
        worker = self.worker(
            """
            started = []
            async def app(scope, receive, send):
                if scope["type"] == "lifespan":
                    while True:
                        message = await receive()
                        if message["type"] == "lifespan.startup":
                            started.append(True)
                            await send({"type": "lifespan.startup.complete"})
                        else:
                            print("shut down")
                            return await send({"type": "lifespan.shutdown.complete"})
                size, more = 0, True
                while more:
                    message = await receive()
                    size, more = size + len(message["body"]), message["more_body"]
                if scope["path"] == "/fail":
                    raise OSError("no")
                await send({"type": "http.response.start", "status": 200, "headers": [(b"x-a", b"b")]})
                for part in (b"%d " % size, scope["query_string"]):
                    await send({"type": "http.response.body", "body": part, "more_body": True})
                await send({"type": "http.response.body", "body": b" %d" % len(started)})
            """
        )
        status, body, headers = worker.call(b"x" * 300_000, "/?q=1")
        self.assertEqual((status, body, headers["x-a"]), (200, b"300000 q=1 1", "b"))
        self.assertEqual(headers.get("transfer-encoding"), "chunked")
        self.assertEqual(worker.call(path="/fail")[0], 500)
        self.assertEqual(worker.call()[0], 200)
        code, out, err = worker.end()
        self.assertEqual((code, out), (0, "shut down\n"), err)
        self.assertIn("OSError: no", err)

    def test_async_handler(self):
        worker = self.worker(
            """
            import asyncio
            async def handle(event, context):
                await asyncio.sleep(0.001)
                return {"statusCode": 200, "body": event.body}
            """
        )
        for _ in range(3):
            self.assertEqual(worker.call(b"hi")[:2], (200, b"hi"))

    def test_style_that_is_named_wins(self):
        worker = self.worker("def handler(event):\n    return type(event).__name__", style="request")
        self.assertEqual(worker.call("{}")[1], b"str")


class Handlers(Base):
    def test_names(self):
        source = "def other(event):\n    return 'other'\ndef handle(req):\n    return 'handle'"
        for handler, name, expected in (
            (None, "handler.py", b"handle"), ("code.other", "code.py", b"other"), ("code:other", "code.py", b"other"),
            ("code", "code.py", b"handle"), ("code.py", "code.py", b"handle"), ("lib/code.py", "lib/code.py", b"handle"),
            ("lib.code.other", "lib/code.py", b"other"), ("other", "handler.py", b"other"), (None, "any.py", b"handle"),
            (None, "function/handler.py", b"handle"), ("worker.other", "worker.py", b"other"),
        ):
            with self.subTest(handler=handler, name=name):
                worker = self.worker(source, name, handler=handler)
                self.assertEqual(worker.call("1")[1], expected)

    def test_neighbours(self):
        worker = self.worker(
            "import near\nfrom .near import x\ndef handle(req):\n    return x + near.x", files={"near.py": "x = 'n'"}
        )
        self.assertEqual(worker.call()[1], b"nn")

    def test_dependencies_and_variables(self):
        with tempfile.TemporaryDirectory() as dependencies:
            with open(os.path.join(dependencies, "dep.py"), "w") as file:
                file.write("import os\nx = os.environ['A']")
            worker = self.worker(
                "import dep, os\ndef handle(req):\n    return dep.x + os.environ.get('XEBEC_CONTROL', '')",
                dependencies=[dependencies], variables={"A": "1"},
            )
            self.assertEqual(worker.call()[1], b"1")

    def test_failures_to_start(self):
        self.assertIn("ModuleNotFoundError: No module named 'nothing'", self.fails("import nothing"))
        self.assertIn("SyntaxError", self.fails("def"))
        self.assertIn("no handler found", self.fails("", "a.txt"))
        self.assertIn("handler has no handle or handler", self.fails("x = 1"))
        self.assertIn("cannot be called", self.fails("handle = 1"))
        self.assertIn("unknown style 'x'", self.fails("def handle(req): pass", style="x"))
        trace = self.fails("def f():\n    1 / 0\nf()")
        self.assertNotIn("xebec_worker", trace)


class Calls(Base):
    def test_exception(self):
        worker = self.worker(
            "def handle(req):\n    if req == 'exit': raise SystemExit(3)\n    return 1 / int(req)"
        )
        status, body, headers = worker.call("0")
        self.assertEqual((status, headers["x-xebec-error"]), (500, "function"))
        self.assertIn(b"ZeroDivisionError", body)
        self.assertEqual(worker.call("exit")[0], 500)
        self.assertEqual(worker.call("1")[:2], (200, b"1.0"))
        err = worker.end()[2]
        self.assertIn("handler.py\", line 3, in handle", err)
        self.assertNotIn("xebec_worker", err)

    def test_bad_results(self):
        worker = self.worker(
            """
            def handle(req):
                return {"header": ("", 200, {"a": "b\\r\\nc: d"}), "status": {"statusCode": 99}, "json": [object()]}[req]
            """
        )
        for name in ("header", "status", "json"):
            self.assertEqual(worker.call(name)[0], 500, name)

    def test_streaming(self):
        worker = self.worker(
            """
            import time
            def handle(req):
                if req == "early": raise ValueError("early")
                yield "one "
                if req == "late": raise ValueError("late")
                yield b"two"
            """
        )
        status, body, headers = worker.call()
        self.assertEqual((status, body, headers["transfer-encoding"]), (200, b"one two", "chunked"))
        self.assertEqual(worker.call("early")[0], 500)
        with self.assertRaises(http.client.HTTPException):
            worker.call("late")
        worker.connection.close()
        self.assertEqual(worker.call()[1], b"one two")

    def test_async_streaming(self):
        worker = self.worker(
            """
            async def handle(event, context):
                if event.body == b"early": raise ValueError("early")
                yield "one "
                if event.body == b"late": raise ValueError("late")
                yield "two"
            """
        )
        self.assertEqual(worker.call()[:2], (200, b"one two"))
        self.assertEqual(worker.call(b"early")[0], 500)
        with self.assertRaises(http.client.HTTPException):
            worker.call(b"late")
        worker.connection.close()
        self.assertEqual(worker.call()[1], b"one two")

    def test_chunked_request(self):
        worker = self.worker("def handle(req):\n    return req")
        self.assertEqual(worker.call(iter([b"a", b"b" * 100_000, b"c"]))[1], b"a" + b"b" * 100_000 + b"c")
        self.assertEqual(worker.call(b"next")[1], b"next")

    def test_bytes_one_by_one(self):
        for source in ("def handle(req):\n    return req", "async def handle(req):\n    return req"):
            worker = self.worker(source)
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(60)
            client.connect(worker.socket)
            request = b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\na: b\r\n\r\n"
            for byte in request:
                client.sendall(bytes([byte]))
            answer = b""
            while not answer.endswith(b"abcde"):
                answer += client.recv(1000)
            client.sendall(b"GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nconnection: close\r\n\r\n")
            answer = b""
            while True:
                data = client.recv(1000)
                if not data:
                    break
                answer += data
            self.assertEqual(answer.count(b"200 OK"), 2)
            client.close()

    def test_bad_requests(self):
        worker = self.worker("def handle(req):\n    return req")
        for request in (
            b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
            b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n", b"POST / HTTP/1.1\r\ncontent-length: 1, 1\r\n\r\n",
            b"POST / HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n",
            b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n-1\r\n", b"GET / HTTP/1.1\r\na : b\r\n\r\n",
        ):
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(60)
            client.connect(worker.socket)
            client.sendall(request)
            self.assertIn(b" 400 ", client.recv(1000), request)
            client.close()
        self.assertEqual(worker.call(b"ok")[1], b"ok")

    def test_head_and_no_content(self):
        worker = self.worker("def handle(event, context):\n    return {'statusCode': int(event.body or 200), 'body': 'x'}")
        self.assertEqual(worker.call(method="HEAD")[:2], (200, b""))
        self.assertEqual(worker.call(b"204")[:2], (204, b""))
        self.assertEqual(worker.call()[:2], (200, b"x"))

    def test_other_connections_wait_their_turn(self):
        worker = self.worker("def handle(req):\n    return req")
        others = [UnixConnection(worker.socket) for _ in range(5)]
        for number in range(20):
            connection = others[number % 5]
            self.assertEqual(worker.call(b"%d" % number, connection=connection)[1], b"%d" % number)
        for connection in others:
            connection.close()

    def test_concurrency(self):
        source = """
            import threading
            both = threading.Barrier(2, timeout=10)
            def handle(req):
                both.wait()
                return req
        """
        asynchronous = """
            import asyncio
            waiting = []
            async def handle(req):
                waiting.append(req)
                while len(waiting) % 2:
                    await asyncio.sleep(0.001)
                return req
        """
        for text in (source, asynchronous):
            worker = self.worker(text, concurrency=2)
            connections = [UnixConnection(worker.socket) for _ in range(2)]
            for connection in connections:
                connection.request("POST", "/", b"x")
            for connection in connections:
                self.assertEqual(connection.getresponse().read(), b"x")
                connection.close()

    def test_output_comes_by_line(self):
        worker = self.worker("import sys\ndef handle(req):\n    print('out', 'ü')\n    print('err', file=sys.stderr)")
        worker.call()
        self.assertEqual(worker.process.stdout.readline(), "out ü\n".encode())
        self.assertEqual(worker.process.stderr.readline(), b"err\n")

    def test_stops_when_told(self):
        for source in (
            "import time\ndef handle(req):\n    print('in')\n    time.sleep(0.3)\n    return 'done'",
            "import asyncio\nasync def handle(req):\n    print('in')\n    await asyncio.sleep(0.3)\n    return 'done'",
        ):
            for concurrency in (1, 2):
                worker = self.worker(source, concurrency=concurrency)
                worker.connection.request("GET", "/")
                self.assertEqual(worker.process.stdout.readline(), b"in\n")
                worker.process.send_signal(signal.SIGTERM)
                self.assertEqual(worker.connection.getresponse().read(), b"done")
                self.assertEqual(worker.process.wait(60), 0)


class Blanks(Base):
    def test_becomes_a_function(self):
        worker = self.worker(
            "import os\ndef handle(req):\n    return os.environ['A'] + os.environ.get('XEBEC_BLANK', '')",
            blank=True, variables={"A": "1"},
        )
        self.assertEqual(worker.call()[1], b"1")

    def test_ends_with_the_server(self):
        process, control = launch(blank=True)
        self.assertEqual(control.recv(100), b"blank\n")
        control.close()
        self.assertEqual(process.wait(60), 0)
        process.communicate()


class Speed(Base):
    def test_warm_call(self):
        """Not a benchmark: only that nothing on the way takes milliseconds."""
        worker = self.worker("def handle(req):\n    return req")
        times = []
        for _ in range(300):
            start = time.perf_counter()
            worker.call(b"x")
            times.append(time.perf_counter() - start)
        median = sorted(times)[150]
        self.assertLess(median, 0.02)
        if "XEBEC_SHOW_TIMES" in os.environ:
            print("a warm call took %.0f us, this client included" % (median * 1e6), file=sys.stderr)


if __name__ == "__main__":
    unittest.main()
