"""Forks a warmed interpreter into sandboxes.

The spawner starts this process with its own rights, outside any sandbox; until it forks it runs trusted code
only. The server sends, over the descriptor that XEBEC_ZYGOTE names, one message per sandbox: what the new
process is to be, and descriptors of the sandbox's namespaces and of what is to become its streams. The child
joins the namespaces, gives up every right as the sandbox's own processes have, and only then calls back.

    import warmed, modules
    import zygote
    zygote.serve(lambda arguments: worker.main(arguments))
"""

import array
import ctypes
import json
import os
import random
import resource
import signal
import socket
import struct
import sys

_libc = ctypes.CDLL(None, use_errno=True)

_PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 4, 22, 24, 38
_SECCOMP_MODE_FILTER = 2
_SYS_LANDLOCK_RESTRICT_SELF = 446
_SYS_CAPSET = {"x86_64": 126, "aarch64": 91}
_CAPABILITY_VERSION_3 = 0x20080522
_NAMESPACES = ("net", "user", "mnt", "ipc", "uts", "pid")
_MOST_DESCRIPTORS = 65
_PACKET = 32 * 1024 + 1


def serve(run):
    """Answers the server until it closes the connection. In each child, calls `run(arguments)`."""
    control = socket.socket(fileno=int(os.environ["XEBEC_ZYGOTE"]))
    control.set_inheritable(False)
    control.sendall(b"\0" + b'{"ready":true}')
    while True:
        received = _receive(control)
        if received is None:
            return
        message, descriptors = received
        answer, child = _fork(message, descriptors)
        if child:
            control.detach()  # Closed already, and its number perhaps another's.
            signal.set_wakeup_fd(-1)
            random.seed()
            status = 1
            try:
                run(message["argv"])
                status = 0
            except SystemExit as ending:
                status = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
            except BaseException:
                sys.excepthook(*sys.exc_info())
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        for descriptor in descriptors:
            os.close(descriptor)
        control.sendall(b"\0" + json.dumps(answer).encode())


def _receive(control):
    space = socket.CMSG_SPACE(_MOST_DESCRIPTORS * array.array("i").itemsize)
    body, ancillary, _, _ = control.recvmsg(_PACKET, space, socket.MSG_CMSG_CLOEXEC)
    if not body:
        return None
    descriptors = array.array("i")
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    descriptors = list(descriptors)
    if body[0]:  # Too long for a packet: it lies in a file.
        with os.fdopen(descriptors.pop(), "rb") as memory:
            memory.seek(0)
            body = b"\0" + memory.read()
    return json.loads(body[1:]), descriptors


def _fork(message, descriptors):
    """The answer, and False; in the child: None, and True."""
    readable, writable = os.pipe()
    between = os.fork()
    if between:
        os.close(writable)
        with os.fdopen(readable, "rb") as report:
            said = report.read()
        os.waitpid(between, 0)
        return (json.loads(said) if said else {"error": "the child died while it joined the sandbox"}), False
    os.close(readable)
    try:
        named = list(zip(message["names"], descriptors))
        _join(named)
        # Only a child is in the pid namespace just joined. It tells of itself once it is confined.
        confined, confines = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(confined)
            os.close(writable)
            _confine(message, named, confines)
            return None, True
        os.close(confines)
        why = os.read(confined, 4096).decode()
        answer = {"pid": pid} if why == "confined" else {"error": why or "the child died while it was confined"}
    except BaseException as error:
        answer = {"error": f"cannot join the sandbox: {error}"}
    os.write(writable, json.dumps(answer).encode())
    os._exit(0)


def _check(result, what):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _join(named):
    for name, descriptor in named:
        if name == "group":
            os.write(descriptor, b"0")
    for wanted in _NAMESPACES:
        for name, descriptor in named:
            if name == wanted:
                _check(_libc.setns(descriptor, 0), f"setns {name}")


def _confine(message, named, report):
    try:
        by_name = dict(named)
        with os.fdopen(by_name["filter"], "rb", closefd=False) as memory:
            memory.seek(0)
            instructions = memory.read()
        os.setsid()
        os.umask(0o022)
        os.chdir(message["directory"])
        report = _number_descriptors(named, by_name, report)
        for name, most in (("RLIMIT_CORE", 0), ("RLIMIT_NOFILE", message["files"])):
            which = getattr(resource, name)
            most = min(most, resource.getrlimit(which)[1]) if most else 0
            resource.setrlimit(which, (most, most))
        for which, most in message["limits"]:
            resource.setrlimit(which, (most, most))
        os.environ.clear()
        os.environ.update(message["variables"])
        _give_up_rights(message["user"], by_name.get("landlock-kept"), instructions)
        os.write(report, b"confined")
    except BaseException as error:
        os.write(report, f"cannot confine the child: {error}".encode())
        os._exit(1)
    os.close(report)


def _number_descriptors(named, by_name, report):
    """Puts the streams at 0 to 2 and the others at 3 and up; closes the rest. Returns the report's number."""
    import fcntl

    low = 3 + sum(name == "extra" for name, _ in named)
    high = lambda descriptor: fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, max(low, 64))
    report = high(report)
    kept = {report}
    if "landlock" in by_name:
        by_name["landlock-kept"] = high(by_name["landlock"])
        kept.add(by_name["landlock-kept"])
    null = high(os.open("/dev/null", os.O_RDWR))
    moved = [(name, high(descriptor)) for name, descriptor in named if name in ("stdin", "stdout", "stderr", "extra")]
    streams = {name: descriptor for name, descriptor in moved if name != "extra"}
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.dup2(streams.get(name, null), number)
    for number, (_, descriptor) in enumerate((it for it in moved if it[0] == "extra"), 3):
        os.dup2(descriptor, number)
    for entry in os.listdir("/proc/self/fd"):
        number = int(entry)
        if number >= low and number not in kept:
            try:
                os.close(number)
            except OSError:
                pass  # The listing's own.
    return report


def _give_up_rights(user, landlock, instructions):
    for capability in range(64):
        _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    try:
        os.setgroups([])
    except PermissionError:
        pass  # The namespace's owner may not choose groups.
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    # The change of user hid this process from its sandbox's own starter, which must be able to end it.
    _check(_libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0), "dumpable")
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    _check(_libc.syscall(_SYS_CAPSET[os.uname().machine], header, b"\0" * 24), "capset")
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    if landlock is not None:
        _check(_libc.syscall(_SYS_LANDLOCK_RESTRICT_SELF, landlock, 0), "landlock")
        os.close(landlock)
    code = ctypes.create_string_buffer(instructions, len(instructions))
    program = struct.pack("@HP", len(instructions) // 8, ctypes.addressof(code))
    _check(_libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, program, 0, 0), "seccomp")
