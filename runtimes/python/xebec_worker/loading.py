"""Finding and importing the function's code."""

import os
import sys

# Where a handler is looked for when the function does not name one.
MODULES = ("handler", "function.handler", "main", "app", "index", "function", "lambda_function", "wsgi", "asgi")
NAMES = ("handle", "handler", "lambda_handler", "app", "application", "main")


def load(message):
    """Imports the function's code and returns (name, callable)."""
    code, handler = message.get("code") or "/app", message.get("handler")
    if not handler:
        module = _default_module(code)
        return _entry(_import(module), NAMES, module)
    handler = handler.replace(":", ".")
    path, _, name = handler.rpartition(".")
    if name == "py":  # a file: handler.py, lib/handler.py
        module = path.strip("./").replace("/", ".")
        return _entry(_import(module), NAMES, module)
    handler = handler.replace(".py.", ".").strip("./").replace("/", ".")
    if _has_module(code, handler):
        return _entry(_import(handler), NAMES, handler)
    module, _, name = handler.rpartition(".")
    if not module:  # `main`: the function of that name in the usual place
        module = _default_module(code)
    return _entry(_import(module), (name,), module)


def _has_module(code, module):
    base = os.path.join(code, *module.split("."))
    return os.path.isfile(base + ".py") or os.path.isfile(os.path.join(base, "__init__.py"))


def _default_module(code):
    for module in MODULES:
        if _has_module(code, module):
            return module
    files = sorted(name[:-3] for name in os.listdir(code) if name.endswith(".py"))
    if len(files) == 1:
        return files[0]
    raise SystemExit(
        "no handler found: name one (handler = \"module.function\"), or add handler.py with handle(event, context)"
    )


def _import(module):
    try:
        __import__(module)
    except ImportError as error:
        if "relative import" not in str(error) or "." in module:
            raise
        # Handlers written as part of a package `function` import their neighbours as `.name`.
        sys.modules.pop(module, None)
        package = type(sys)("function")
        package.__path__ = [os.getcwd()]
        sys.modules["function"] = package
        module = "function." + module
        __import__(module)
    return sys.modules[module]


def _entry(module, names, where):
    for name in names:
        target = getattr(module, name, None)
        if target is not None:
            if not callable(target):
                raise SystemExit("%s.%s cannot be called: it is a %s" % (where, name, type(target).__name__))
            return name, target
    raise SystemExit("%s has no %s" % (where, " or ".join(names)))
