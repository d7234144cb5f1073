"""The calling styles of OpenFaaS' templates. `python3 -m unittest` in the folder above."""

import unittest

from .test_worker import Worker


class OpenFaas(unittest.TestCase):
    def worker(self, files, **message):
        worker = Worker(files, handler="function.handler", **message)
        self.addCleanup(worker.end)
        self.assertTrue(worker.ready)
        return worker

    def test_http(self):
        worker = self.worker({
            "function/handler.py": """
                from . import other
                from function.other import NAME
                def handle(event, context):
                    if event.path == "/text":
                        return {"statusCode": 201, "body": "<b>%s</b>" % event.method}
                    if event.path == "/json":
                        return {"body": {"query": event.query.get("a"), "kind": type(event.body).__name__}}
                    if event.path == "/headers":
                        return {"statusCode": 302, "headers": {"Location": "/x", "Content-Type": "a/b"}, "body": ""}
                    if event.path == "/tuple":
                        return "made", 201
                    if event.path == "/none":
                        return None
                    return {"statusCode": 200, "body": other.NAME + NAME + context.hostname}
            """,
            "function/other.py": "NAME = 'n'",
        }, style="openfaas-http", concurrency=4)
        html = "text/html; charset=utf-8"
        status, body, headers = worker.call(path="/text")
        self.assertEqual((status, body, headers["content-type"]), (201, b"<b>GET</b>", html))
        status, body, headers = worker.call(b"x", path="/json?a=1")
        self.assertEqual((status, body), (200, b'{"query": "1", "kind": "bytes"}'))
        self.assertEqual(headers["content-type"], "application/json")
        status, body, headers = worker.call(path="/headers")
        self.assertEqual((status, headers["location"], headers["content-type"]), (302, "/x", "a/b"))
        self.assertEqual(worker.call(path="/tuple")[:2], (201, b"made"))
        self.assertEqual(worker.call(path="/none")[:2], (200, b""))
        self.assertTrue(worker.call()[1].startswith(b"nn"))

    def test_http_asynchronous(self):
        worker = self.worker({
            "function/handler.py": "async def handle(event, context):\n    return {'body': 'later'}\n",
        }, style="openfaas-http", concurrency=4)
        status, body, headers = worker.call()
        self.assertEqual((status, body, headers["content-type"]), (200, b"later", "text/html; charset=utf-8"))

    def test_flask(self):
        worker = self.worker({
            "function/handler.py": """
                def handle(req):
                    return {
                        "text": req, "tuple": (req, 201), "headers": (req, {"X-A": "b"}),
                        "all": (req, 202, {"X-A": "c"}), "dict": {"statusCode": 3}, "list": [1],
                    }[req]
            """,
        }, style="openfaas-flask")
        for body, status, answer, header in (
            ("text", 200, b"text", None), ("tuple", 201, b"tuple", None), ("headers", 200, b"headers", "b"),
            ("all", 202, b"all", "c"), ("dict", 200, b'{"statusCode": 3}', None), ("list", 200, b"[1]", None),
        ):
            with self.subTest(body):
                found = worker.call(body.encode())
                self.assertEqual((*found[:2], found[2].get("x-a")), (status, answer, header))
        self.assertEqual(worker.call(b"text")[2]["content-type"], "text/html; charset=utf-8")

    def test_classic(self):
        worker = self.worker({
            "function/handler.py": """
                import os, sys
                def handle(req):
                    if req == "exit":
                        print("bye")
                        sys.exit(0)
                    if req == "fail":
                        raise ValueError("no")
                    if req == "stderr":
                        print("e", file=sys.stderr)
                        return
                    if req == "process":
                        os.system("echo from a process")
                        return
                    print("printed")
                    return "%s %s %s" % (req, os.environ["Http_Method"], os.environ.get("Http_X_A"))
            """,
        }, style="openfaas-classic")
        status, body, headers = worker.call(b"in", headers={"X-A": "b", "content-type": "text/csv"})
        self.assertEqual((status, body), (200, b"printed\nin POST b\n"))
        self.assertEqual(headers["content-type"], "text/csv")
        # What one call was told, the next does not see.
        self.assertEqual(worker.call(b"in")[1], b"printed\nin POST None\n")
        self.assertEqual(worker.call(b"exit")[:2], (200, b"bye\n"))
        self.assertEqual(worker.call(b"stderr")[:2], (200, b"e\n"))
        self.assertEqual(worker.call(b"process")[:2], (200, b"from a process\n"))
        status, body, headers = worker.call(b"fail")
        self.assertEqual((status, headers["x-xebec-error"]), (500, "function"))
        self.assertIn(b"ValueError: no", body)
        self.assertEqual(worker.call(b"exit")[:2], (200, b"bye\n"))

    def test_classic_with_settings(self):
        worker = self.worker({
            "function/handler.py": """
                import os, sys
                def handle(req):
                    print("aside", file=sys.stderr)
                    return sorted(name for name in os.environ if name.startswith("Http_"))
            """,
        }, style="openfaas-classic", variables={
            "combine_output": "false", "cgi_headers": "false", "content_type": "a/b",
        })
        status, body, headers = worker.call(b"")
        self.assertEqual((status, body, headers["content-type"]), (200, b"[]\n", "a/b"))


if __name__ == "__main__":
    unittest.main()
