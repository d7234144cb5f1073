"""Actions in the style `openwhisk`, called as a contract would. `python3 -m unittest` in the folder above."""

import json
import os
import sysconfig
import unittest

from .test_worker import Base, Worker

MARK = "XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX\n"
NO_PROGRAM = {"error": "The action failed to generate or locate a binary. See logs for details."}
NO_START = {"error": "Cannot start action. Check logs for details."}
ECHO = "def main(params):\n    return params\n"


class Action(Base):
    def start(self, files, **options):
        """A worker that waits for `/init`."""
        files = {"exec": files} if isinstance(files, str) else files
        worker = Worker(files, style="openwhisk", **options)
        if not worker.ready:
            self.fail(worker.end()[2])
        self.addCleanup(worker.end)
        return worker

    def post(self, worker, path, message):
        body = message if isinstance(message, bytes) else json.dumps(message).encode()
        status, answer, headers = worker.call(body, path)
        self.assertEqual((headers["content-type"], headers["content-length"]), ("application/json", str(len(answer))))
        return status, json.loads(answer)

    def init(self, worker, **value):
        return self.post(worker, "/init", {"value": dict({"name": "test", "main": "main", "binary": False}, **value)})

    def run_it(self, worker, value, **more):
        return self.post(worker, "/run", dict({"value": value}, **more))

    def initialised(self, files, value=None, **options):
        worker = self.start(files, **options)
        self.assertEqual(self.init(worker, **(value or {})), (200, {"ok": True}))
        return worker

    def ended(self, files, value, expected):
        """What is printed by a worker whose action cannot be initialised."""
        worker = Worker({"exec": files} if isinstance(files, str) else files, style="openwhisk")
        self.assertTrue(worker.ready)
        self.assertEqual(self.init(worker, **value), expected)
        code, out, err = worker.end()
        self.assertEqual((code, out), (0, MARK))
        self.assertTrue(err.endswith(MARK), err)
        return err


class Sources(Action):
    def test_what_it_returns(self):
        worker = self.initialised(
            """
            import asyncio
            async def later():
                await asyncio.sleep(0.001)
                return {"later": 1}
            def main(params):
                results = {"array": [1, "ü"], "tuple": (1, 2), "error": {"error": "sorry"}, "later": later}
                found = results.get(params["is"]) if "is" in params else {"got": params}
                return found() if callable(found) else found
            """
        )
        self.assertEqual(self.run_it(worker, {"a": "ü"}), (200, {"got": {"a": "ü"}}))
        self.assertEqual(self.run_it(worker, None), (200, {"got": {}}))
        self.assertEqual(self.run_it(worker, [1, 2]), (200, {"got": [1, 2]}))
        for name, expected in (
            ("array", [1, "ü"]), ("tuple", [1, 2]), ("error", {"error": "sorry"}), ("later", {"later": 1}),
        ):
            for _ in range(2):
                self.assertEqual(self.run_it(worker, {"is": name}), (200, expected))

    def test_the_module_is_its_own(self):
        worker = self.initialised(
            """
            import sys
            if __name__ == "__main__":
                raise SystemExit("not a script")
            count = 0
            def niam(params):
                global count
                count += 1
                return {"count": count, "same": sys.modules[__name__].niam is niam, "file": __file__[-5:]}
            """,
            {"main": "niam"},
        )
        self.assertEqual(self.run_it(worker, {})[1], {"count": 1, "same": True, "file": "/exec"})
        self.assertEqual(self.run_it(worker, {})[1]["count"], 2)

    def test_in_the_message(self):
        worker = self.initialised({"other.txt": ""}, {"code": "def main(params):\n    return {'from': 'message'}"})
        self.assertEqual(self.run_it(worker, {}), (200, {"from": "message"}))

    def test_variables(self):
        env = {"A": "x", "B": 1, "C": True, "D": None, "E": {"f": [1]}, "__OW_ACTION_NAME": "/guest/a"}
        worker = self.initialised(
            """
            import os
            early = os.environ["A"]
            def main(params):
                return {"early": early, "now": [os.environ.get(name) for name in params["names"]]}
            """,
            {"env": env},
        )
        names = ["B", "C", "D", "E", "__OW_ACTION_NAME", "__OW_NAMESPACE", "__OW_ACTIVATION_ID", "__OW_DEADLINE", "__OW_N"]
        _, said = self.run_it(worker, {"names": names}, namespace="guest", activation_id="1", deadline="5", n=7)
        self.assertEqual(said["early"], "x")
        self.assertEqual(said["now"], ["1", "true", "", '{"f":[1]}', "/guest/a", "guest", "1", "5", None])
        _, said = self.run_it(worker, {"names": names[5:8]}, namespace="guest", activation_id="2", deadline="6")
        self.assertEqual(said["now"], ["guest", "2", "6"])

    def test_what_goes_wrong(self):
        worker = self.initialised(
            """
            def main(params):
                what = params.get("what")
                if what == "raise":
                    raise ValueError("bad")
                return {"set": {1}, "nan": {"a": float("nan")}, "surrogate": {"a": "\\ud800"}}.get(what, what)
            """
        )
        self.assertEqual(self.run_it(worker, {"what": "raise"}), (200, {"error": "bad"}))
        for what in ("text", 5, None, "set", "nan", "surrogate"):
            expected = (502, {"error": "The action did not return a dictionary or array."})
            self.assertEqual(self.run_it(worker, {"what": what}), expected)
        err = worker.end()[2]
        self.assertIn("Traceback (most recent call last):\n  File", err)
        self.assertIn("ValueError: bad\n", err)
        self.assertNotIn("xebec_worker/openwhisk.py\", line", err.partition("ValueError: bad")[0])

    def test_each_activation_ends_with_a_mark(self):
        worker = self.initialised(
            """
            import os, sys
            def main(params):
                print("out")
                os.write(2, b"err\\n")
                sys.stdout.write("no end of line"[:params.get("some", 0)])
                if "close" in params:
                    sys.stderr = None
                return {}
            """
        )
        self.run_it(worker, {})
        self.run_it(worker, {"close": True})
        code, out, err = worker.end()
        self.assertEqual((code, out, err), (0, ("out\n" + MARK) * 2, ("err\n" + MARK) * 2))

    def test_ends_itself(self):
        worker = self.initialised("import sys\ndef main(params):\n    sys.exit(3)")
        with self.assertRaises(OSError):
            self.run_it(worker, {})
        self.assertEqual(worker.process.wait(60), 3)
        worker.ready = False  # nobody left to be told to stop


class Initialising(Action):
    def test_what_cannot_be_initialised(self):
        for files, value, expected, printed in (
            (" 10 PRINT 'Hello'", {}, NO_PROGRAM, "exec\", line 1"),
            ("import not_there\n" + ECHO, {}, NO_START, "ModuleNotFoundError: No module named 'not_there'"),
            ("raise ValueError('early')", {}, NO_START, "ValueError: early"),
            ("import sys\nsys.exit('gone')", {}, NO_START, "gone\n"),
            (ECHO, {"main": "other"}, NO_START, "cannot import name 'other'"),
            ({"echo.py": ECHO}, {"binary": True}, NO_PROGRAM, "Zip file does not include __main__.py"),
            ({"__main__.py": "import broken", "broken.py": "1 1"}, {}, NO_START, "broken.py\", line 1"),
            ({"__main__.py": ECHO, "virtualenv/x": ""}, {}, NO_PROGRAM, "Zip file does not include 'activate_this.py'"),
            (ECHO, {"code": "UEsDBA==", "binary": True}, NO_PROGRAM, "comes as a folder"),
        ):
            self.assertIn(printed, self.ended(files, value, (502, expected)))
        worker = self.start(ECHO)
        self.assertEqual(self.init(worker, code=""), (403, {"error": "Missing main/no code to execute."}))

    def test_once_and_before_it_is_run(self):
        worker = self.start(ECHO)
        self.assertEqual(self.run_it(worker, {}), (500, {"error": "no action defined yet"}))
        self.assertEqual(self.init(worker)[0], 200)
        again = {"error": "Cannot initialize the action more than once."}
        self.assertEqual(self.init(worker), (403, again))
        self.assertEqual(self.run_it(worker, {"a": 1}), (200, {"a": 1}))
        for path, body, status in (("/run", b"nonsense", 400), ("/init", b"[]", 404), ("/run", b"5", 404), ("/", b"{}", 404)):
            self.assertEqual(self.post(worker, path, body)[0], status)

    def test_zip_files(self):
        files = {
            "__main__.py": "from lib.echo import echo\ndef main(params):\n    return {'file': open('data').read(), 'echo': echo(params)}",
            "lib/__init__.py": "", "lib/echo.py": "def echo(x):\n    return x", "data": "text",
        }
        worker = self.initialised(files, {"binary": True})
        self.assertEqual(self.run_it(worker, {"a": 1}), (200, {"file": "text", "echo": {"a": 1}}))

    def test_packages_of_the_machine(self):
        found = [path for path in (sysconfig.get_path("purelib"), "/usr/lib/python3/dist-packages") if os.path.isdir(path)]
        names = sorted(name for path in found for name in os.listdir(path) if name in ("pip", "setuptools"))
        if not names:
            self.skipTest("this Python has no packages")
        source = "import sys, %s, json\ndef main(params):\n    return {'file': %s.__file__, 'last': sys.path[-1]}"
        said = self.run_it(self.initialised(source % (names[0], names[0])), {})[1]
        self.assertTrue(said["file"].startswith(said["last"]), said)

    def test_virtual_environments(self):
        for place in ("bin", "Scripts"):
            files = {
                "__main__.py": "import brought\ndef main(params):\n    return {'a': brought.A}",
                "virtualenv/%s/activate_this.py" % place:
                    "import os, sys\nbase = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))\n"
                    "sys.path.insert(0, os.path.join(base, 'packages'))",
                "virtualenv/packages/brought.py": "A = 5",
            }
            worker = self.initialised(files, {"binary": True})
            self.assertEqual(self.run_it(worker, {}), (200, {"a": 5}))

    def test_a_blank(self):
        source = """
            import os, sys
            def main(params):
                return {"a": os.environ["A"], "name": __name__, "same": sys.modules["main__"].main is main}
        """
        worker = self.initialised(source, blank=True, variables={"A": "1"})
        self.assertEqual(self.run_it(worker, {}), (200, {"a": "1", "name": "main__", "same": True}))
        self.assertEqual(worker.end()[1:], (MARK, MARK))


if __name__ == "__main__":
    unittest.main()
