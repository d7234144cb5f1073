"""The Python worker: runs one function and serves it as HTTP/1.1 on a Unix socket.

It needs Python 3.8 or later and nothing else. It is told what to run over the control socket, the descriptor
that `XEBEC_CONTROL` names: one line of JSON, the *start message* (see runtimes/README.md). It answers `ready`
once calls can be served; whatever goes wrong before that ends it, with the trace on standard error.

With `XEBEC_BLANK` set it first imports what handlers usually need, says `blank`, and waits for the message.
With `XEBEC_ZYGOTE` set it is no worker itself but becomes many: it imports the same, and is then forked into
sandboxes by `zygote.py`, which the server puts beside this file.

What is imported before the function itself are few and mostly C modules on purpose: a cold start waits for
them. `json` would bring `re` and `enum` along, so would `socket` and `signal`.
"""

import os
import sys

import _signal
import _socket

from . import loading, styles
from .blocking import READ_SIZE, Server, plain_call
from .responses import print_trace

# What handlers usually import; loaded while a blank waits.
PRELOADED = (
    "json", "re", "io", "time", "datetime", "base64", "hashlib", "hmac", "math", "random", "string", "uuid",
    "functools", "itertools", "collections", "typing", "dataclasses", "traceback", "inspect", "logging",
    "threading", "socket", "tempfile", "subprocess", "pathlib", "urllib.parse", "urllib.request",
    "http.client", "ssl", "asyncio",
)


def main():
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, errors="backslashreplace")
    del sys.argv[1:]
    if "XEBEC_ZYGOTE" in os.environ:
        become_many()
    else:
        become_one()


def become_many():
    import gc

    preload()
    # What a worker loads only when it needs it would not be found inside under the path that it has here.
    from . import asynchronous, openfaas, wsgi, zygote

    gc.collect()
    gc.freeze()  # the collector would write to every object, and so copy what is shared
    zygote.serve(lambda _: become_one())


def become_one():
    try:
        serve()
    except SystemExit as error:
        if not isinstance(error.code, str):
            raise
        print(error.code, file=sys.stderr)
        os._exit(1)
    except BaseException as error:
        print_trace(error)
        os._exit(1)


def serve():
    """Fetches the start message and does what it says."""
    control = int(os.environ.pop("XEBEC_CONTROL"))
    os.set_inheritable(control, False)
    if os.environ.pop("XEBEC_BLANK", ""):
        preload()
        os.write(control, b"blank\n")
    run(control, parse(read_line(control)))


def preload():
    for name in PRELOADED:
        try:
            __import__(name)
        except ImportError:  # a Python built without it
            pass
    from . import openwhisk

    openwhisk.warm_up()


def read_line(control):
    line = b""
    while not line.endswith(b"\n"):
        data = os.read(control, READ_SIZE)
        if not data:
            raise SystemExit(0)  # the server is gone
        line += data
    return line.strip()


def parse(line):
    """The start message. The scanner in C spares the import of `json`."""
    try:
        from _json import make_scanner
    except ImportError:
        import json

        return json.loads(line)

    class Plain:
        strict, memo = True, {}
        object_hook = object_pairs_hook = None
        parse_float, parse_int, parse_constant = float, int, float

    return make_scanner(Plain)(line.decode(), 0)[0]


def run(control, message):
    """Loads the function, says that it is ready, and serves it until the process is told to stop."""
    prepare(message)
    if message.get("style") == "openwhisk":
        # What to run it is told by `/init`. Its variables are those of one call: one at a time.
        from .openwhisk import Action

        return serve_plainly(message, control, Action(message.get("code") or "/app"), False)
    name, target = loading.load(message)
    style = message.get("style") or styles.find(name, target)
    if style not in styles.ALL:
        raise SystemExit("unknown style %r: use one of %s, openwhisk" % (style, ", ".join(styles.ALL)))
    function = message.get("function") or ""
    if style == "asgi" or styles.is_async(target):
        from . import asynchronous

        listener = listen(message)
        return asynchronous.run(listener, lambda: ready(control), style, target, function)
    if style == "wsgi":
        from .wsgi import wsgi_call

        call = wsgi_call(target)
    else:
        call = plain_call(styles.CALLS[style](target, function))
    serve_plainly(message, control, call, int(message.get("concurrency") or 1) > 1)


def serve_plainly(message, control, call, in_threads):
    server = Server(listen(message), call)
    _signal.signal(_signal.SIGTERM, server.stop)
    ready(control)
    if in_threads:
        server.serve_in_threads()
    else:
        server.serve_in_turn()


def prepare(message):
    """Makes the process that of one function: variables, paths, directory."""
    variables = message.get("variables") or {}
    os.environ.update(variables)
    if "TZ" in variables:
        import time

        time.tzset()
    code, dependencies = message.get("code") or "/app", message.get("dependencies") or []
    extra = [path for path in variables.get("PYTHONPATH", "").split(":") if path]
    sys.path[:0] = [code, *dependencies, *extra]
    for path in dependencies:
        if os.path.isdir(path) and any(name.endswith(".pth") for name in os.listdir(path)):
            import site

            site.addsitedir(path)
    os.chdir(code)


def ready(control):
    os.write(control, b"ready\n")
    os.close(control)


def listen(message):
    listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    listener.bind(message.get("socket") or "/run/xebec/http.sock")
    listener.listen(128)
    return listener
