"""The style `openwhisk`: the worker is told its action over HTTP, `POST /init`, and calls it for each `POST /run`."""

import json
import os
import sys

from .responses import JSON, Response, print_trace

# Printed on both streams behind what an activation printed.
MARK = b"XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX\n"
# The file that holds an action's text, and what a zip file must have in its place.
SOURCE, PACKED = "exec", "__main__.py"
NO_PROGRAM = "The action failed to generate or locate a binary. See logs for details."
NO_START = "Cannot start action. Check logs for details."

encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


class Unusable(Exception):
    """What is wrong with an action's files, in a sentence."""


def mark():
    """Prints the mark on both streams, behind all that was printed before."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        for stream in {getattr(sys, name), getattr(sys, "__%s__" % name)}:
            try:
                stream.flush()
            except (AttributeError, OSError, ValueError):  # the action closed it, or put something else there
                pass
        written = 0
        while written < len(MARK):
            written += os.write(number, MARK[written:])


def warm_up():
    """Runs an action that does nothing, once: a blank then has behind it what a first call takes longer for."""
    action = Action("", lambda: None)
    action.answer("/init", b'{"value": {"code": "def main(params):\\n    return params"}}')
    action.answer("/run", b'{"value": {}}')
    del sys.modules[action.MODULE]


def see_packages_of_the_machine():
    """Lets actions see the packages that this machine has for everybody, as OpenWhisk's images have some: behind
    their own and the standard library's."""
    library = "%s/lib/python%d.%d" % ((sys.prefix,) + sys.version_info[:2])
    for path in (library + "/site-packages", sys.prefix + "/lib/python3/dist-packages"):
        if os.path.isdir(path) and path not in sys.path:
            sys.path.append(path)


class Action:
    """The one action of this process. Called with a connection and a request, it serves it."""

    MODULE = "main__"

    def __init__(self, code, mark=mark):
        self.code = code
        self.mark = mark
        self.known = False
        self.main = None
        self.told = {}
        self.loop = None

    def __call__(self, connection, request):
        status, body = self.answer(request.target, connection.body())
        connection.send(request, Response(status, [("content-type", JSON)], body))

    def answer(self, path, body):
        """Status and body for a message."""
        try:
            message = json.loads(body)
        except ValueError as error:
            return refusal(400, "Error unmarshaling request: %s" % error)
        if path == "/run" and isinstance(message, dict):
            return self.run(message)
        if path == "/init" and isinstance(message, dict) and isinstance(message.get("value"), dict):
            return self.init(**message["value"])
        return refusal(404, "there is /init and /run")

    def init(self, main="main", code=None, binary=False, env=None, **_):
        if self.known:
            print("Cannot initialize the action more than once.", file=sys.stderr)
            return refusal(403, "Cannot initialize the action more than once.")
        if code == "" or main == "":
            return refusal(403, "Missing main/no code to execute.")
        self.known = True
        os.environ.update((name, variable(value)) for name, value in (env or {}).items())
        see_packages_of_the_machine()
        try:
            if code is not None and binary:
                raise Unusable("A zip file comes as a folder, not in the message.")
            self.main = self.load(code, main)
        except SystemExit as error:
            if error.code is not None:
                print(error.code, file=sys.stderr)
            return self.failed(NO_START)
        except Unusable as error:
            print(error, file=sys.stderr)
            return self.failed(NO_PROGRAM)
        except BaseException as error:
            print_trace(error)
            # Nothing of it ran if it could not be compiled.
            return self.failed(NO_START if self.MODULE in sys.modules else NO_PROGRAM)
        return 200, b'{"ok":true}'

    def failed(self, error):
        self.mark()
        return refusal(502, error)

    def load(self, code, main):
        """The action in a text, or in a folder that has a text or was a zip file."""
        path = os.path.join(self.code, SOURCE)
        if code is None:
            if not os.path.isfile(path):
                path = os.path.join(self.code, PACKED)
            if not os.path.isfile(path):
                raise Unusable("Zip file does not include %s." % PACKED)
            activate(os.path.join(self.code, "virtualenv"))
            with open(path, "rb") as file:
                code = file.read()
        program = compile(code, path, "exec", dont_inherit=True)
        # As the module of its own that it is: `__main__` is the worker.
        module = sys.modules[self.MODULE] = type(sys)(self.MODULE)
        module.__file__ = path
        exec(program, module.__dict__)
        try:
            return getattr(module, main)
        except AttributeError:
            raise ImportError("cannot import name %r from the action" % main) from None

    def run(self, message):
        if self.main is None:
            return refusal(500, "no action defined yet")
        for name, value in message.items():
            # Most are the same for every call, and setting one is slow.
            if name != "value" and self.told.get(name) != value and isinstance(value, str):
                os.environ["__OW_" + name.upper()] = self.told[name] = value
        value = message.get("value")
        try:
            result = self.main({} if value is None else value)
            if hasattr(result, "__await__"):
                result = self.awaited(result)
        except Exception as error:
            print_trace(error)
            result = {"error": str(error)}
        try:
            body = encode(result).encode()
        except Exception as error:
            print_trace(error)
            body = b""
        self.mark()
        if body[:1] not in (b"{", b"["):
            return refusal(502, "The action did not return a dictionary or array.")
        return 200, body

    def awaited(self, result):
        if self.loop is None:
            import asyncio

            self.loop = asyncio.new_event_loop()
        return self.loop.run_until_complete(result)


def refusal(status, error):
    return status, encode({"error": error}).encode("utf-8", "replace")


def variable(value):
    """A value as an environment variable."""
    if value is None:
        return ""
    return value if isinstance(value, str) else encode(value)


def activate(folder):
    """Takes on a virtual environment that the action brought."""
    if not os.path.isdir(folder):
        return
    for place in ("bin", "Scripts"):
        script = os.path.join(folder, place, "activate_this.py")
        if os.path.isfile(script):
            with open(script, "rb") as file:
                exec(compile(file.read(), script, "exec", dont_inherit=True), {"__file__": script, "__name__": "activate_this"})
            return
    raise Unusable("Invalid virtualenv. Zip file does not include 'activate_this.py'.")
