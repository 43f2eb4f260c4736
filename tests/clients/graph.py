"""A front end of its own for BuildKit's protocol: sends graphs (LLB) by Control.Solve on the daemon's socket and tells
what came of them. The messages are written by hand, as ops.proto and control.proto have them.

Usage: graph.py SOCKET LAYOUT BLOB (localhost:5000/box@sha256:…)
"""

import hashlib
import json
import os
import socket
import sys
import threading
from concurrent import futures

import grpc

BRIDGE = "/moby.buildkit.v1.frontend.LLBBridge/"
SOLVE = "/moby.buildkit.v1.Control/Solve"


def varint(value):
    value &= (1 << 64) - 1
    out = b""
    while True:
        value, low = value >> 7, value & 0x7F
        out += bytes([low | (0x80 if value else 0)])
        if not value:
            return out


def field(tag, value):
    """One field: numbers as varints (0 is left out), everything else by its length."""
    if isinstance(value, int):
        return varint(tag << 3) + varint(value) if value else b""
    value = value.encode() if isinstance(value, str) else value
    return varint(tag << 3 | 2) + varint(len(value)) + value


def message(*pairs):
    return b"".join(field(tag, value) for tag, value in pairs)


def fields(bytes_):
    """The fields of a message: tag and value, nested ones as bytes."""
    def number(at):
        value = shift = 0
        while True:
            byte = bytes_[at]
            value, shift, at = value | (byte & 0x7F) << shift, shift + 7, at + 1
            if byte < 0x80:
                return value, at
    at, found = 0, []
    while at < len(bytes_):
        key, at = number(at)
        value, at = number(at)
        if key & 7 == 2:
            value, at = bytes_[at:at + value], at + value
        found.append((key >> 3, value))
    return found


def first(bytes_, tag, default=b""):
    return next((value for key, value in fields(bytes_) if key == tag), default)


def pairs(tag, mapping):
    return [(tag, message((1, key), (2, value))) for key, value in mapping.items()]


class Graph:
    def __init__(self):
        self.definition = []

    def op(self, kind, body, inputs=()):
        """Adds an operation; answers its name, by which others take its outputs."""
        inputs = [(1, message((1, name), (2, index))) for name, index in inputs]
        bytes_ = message(*inputs, (kind, body))
        self.definition.append(bytes_)
        return "sha256:" + hashlib.sha256(bytes_).hexdigest()

    def source(self, identifier, attributes=None):
        return self.op(3, message((1, identifier), *pairs(2, attributes or {})))

    def shell(self, line, mounts, inputs):
        meta = message((1, "/bin/sh"), (1, "-c"), (1, line), (2, "PATH=/bin"), (3, "/"))
        return self.op(2, message((1, meta), *[(2, mount) for mount in mounts]), inputs)

    def files(self, actions, inputs=()):
        return self.op(4, message(*[(2, action) for action in actions]), inputs)

    def finish(self, name, index=0):
        self.definition.append(message((1, message((1, name), (2, index)))))
        return message(*[(1, bytes_) for bytes_ in self.definition])


def mount(source, target, output=-1, read_only=False):
    return message((1, source), (3, target), (4, output), (5, int(read_only)))


def action(source, output, kind, body, second=-1):
    return message((1, source), (2, second), (3, output), (kind, body))


def mkfile(path, text):
    return message((1, path), (2, 0o640), (3, text), (5, -1))


def solve(channel, reference, definition, exporter="image", attributes=None, session="", internal=False):
    request = message((1, reference), (2, definition), (3, exporter), *pairs(4, attributes or {}), (11, int(internal)))
    request += message((5, session)) if session else b""
    call = channel.unary_unary(SOLVE, request_serializer=None, response_deserializer=None)
    try:
        call(request, timeout=60)
        print(reference, "done")
    except grpc.RpcError as error:
        print(reference, error.code().name, error.details())


def whole():
    """Every kind of operation once."""
    graph = Graph()
    base = graph.source("docker-image://docker.io/library/busybox:latest")
    # Three actions that follow on each other, on nothing.
    words = graph.files([
        action(-1, -1, 6, message((1, "/d/deep"), (2, 0o755), (3, 1), (5, -1))),
        action(0, -1, 5, mkfile("/d/deep/word", "word")),
        action(1, 0, 8, message((1, "d/deep/word"), (2, "/link"), (4, -1))),
    ])
    # A process in the base: with files of another operation, and a mount that becomes an output.
    line = "cat /in/link > /said; date +%s%N > /stamp; echo out > /out/three; rm /bin/gunzip"
    mounts = [mount(0, "/", 0), mount(1, "/in", read_only=True), mount(-1, "/out", 1)]
    ran = graph.shell(line, mounts, [(base, 0), (words, 0)])
    copied = graph.files([
        action(0, -1, 4, message((1, "/three"), (2, "/copied/"), (4, -1), (8, 1), (11, -1)), second=1),
        action(2, 0, 7, message((1, "/stam*"), (3, 1))),
    ], [(ran, 0), (ran, 1)])
    # What the process did, without what it stood on; on the base again, with the words.
    changes = graph.op(7, message((1, message()), (2, message((1, 1)))), [(base, 0), (ran, 0)])
    merged = graph.op(6, message(*[(1, message((1, at))) for at in range(3)]), [(base, 0), (changes, 0), (words, 0)])
    return graph, copied, merged


def states(channel):
    """Operations on whole states: a difference between two that do not stand on each other, inputs passed on, a graph
    that a process has made, files that fit patterns, a cache that begins with files."""
    def done(name, graph, top, index=0):
        solve(channel, name, graph.finish(top, index), attributes={"name": name})

    def tree(graph, *names):
        actions = [action(-1, -1, 6, message((1, "/d"), (2, 0o755), (5, -1)))]
        for at, (name, text) in enumerate(names):
            actions.append(action(at, -1, 5, mkfile(name, text)))
        actions.append(action(len(names), 0, 5, mkfile("/last", "1")))
        return graph.files(actions)

    def diff(graph, lower, upper):
        body = message((1, message()), (2, message((1, 1))))
        return graph.op(7, body, [(lower, 0), (upper, 0)])

    def merge(graph, *inputs):
        body = message(*[(1, message((1, at))) for at in range(len(inputs))])
        return graph.op(6, body, [(one, 0) for one in inputs])

    graph = Graph()
    base = graph.source("docker-image://docker.io/library/busybox:latest")
    lower = tree(graph, ("/d/same", "1"), ("/d/bytes", "one"), ("/d/gone", "1"), ("/gone", "1"))
    upper = tree(graph, ("/d/same", "1"), ("/d/bytes", "two"), ("/d/new", "1"))
    change = diff(graph, lower, upper)
    # Seen by itself it has what came, and no sign of what went; put on the lower one it makes the upper one.
    whole = merge(graph, base, lower, change)
    line = "cd /in; ls -R . > /seen; cat d/bytes >> /seen; ls /d / | grep -c gone >> /seen; cat /d/* >> /seen"
    ran = graph.shell(line, [mount(0, "/", 0), mount(1, "/in", read_only=True)], [(whole, 0), (change, 0)])
    done("difference", graph, ran)
    # The second of these outputs is the first of the inputs.
    graph = Graph()
    base = graph.source("docker-image://docker.io/library/busybox:latest")
    other = tree(graph, ("/other", "1"))
    passed = graph.op(8, message((1, "order"), (2, varint(1) + varint(0))), [(base, 0), (other, 0)])
    done("passed", graph, passed, 1)
    graph = Graph()
    base = graph.source("docker-image://docker.io/library/busybox:latest")
    done("passed-wrong", graph, graph.op(8, message((1, "order"), (2, varint(3))), [(base, 0)]))
    # A definition as a file, once under its usual name and once under one of its own.
    inner = Graph()
    within = inner.finish(tree(inner, ("/within", "made")))
    for name, attributes, file in (("built", {}, "/buildkit.llb.definition"),
                                   ("built-named", {"llbbuild.filename": "a/graph"}, "/a/graph"),
                                   ("built-wrong", {"llbbuild.filename": "none"}, "/some")):
        graph = Graph()
        base = graph.source("docker-image://docker.io/library/busybox:latest")
        above = [action(-1, -1, 6, message((1, "/a"), (2, 0o755), (5, -1)))]
        made = graph.files(above + [action(0, 0, 5, mkfile(file, within))])
        named = [(2, message((1, "buildkit.llb.definition"), (2, message())))]
        body = message((1, -1), *named, *pairs(4, attributes))
        built = graph.op(5, body, [(made, 0)])
        ran = graph.shell("cp /in/within /said", [mount(0, "/", 0), mount(1, "/in", read_only=True)],
                          [(base, 0), (built, 0)])
        done(name, graph, ran)
    graph = Graph()
    body = message((1, 0), (2, message((1, "buildkit.llb.definition"), (2, message()))))
    done("built-by-others", graph, graph.op(5, body, [(tree(graph), 0)]))
    # A graph that makes itself anew each time would have no end.
    graph = Graph()
    done("built-without-end", graph, endless(graph, 20))
    # Copies of what fits, with the directories that lead there.
    graph = Graph()
    base = graph.source("docker-image://docker.io/library/busybox:latest")
    words = tree(graph, ("/d/a.txt", "1"), ("/d/b.bin", "1"), ("/c.txt", "1"))
    some = graph.files([action(-1, 0, 4, message(
        (1, "/"), (2, "/"), (4, -1), (6, 1), (8, 1), (11, -1), (12, "**/*.txt"), (13, "c.*")), second=0)], [(words, 0)])
    ran = graph.shell("cd /in; find . | sort > /said", [mount(0, "/", 0), mount(1, "/in", read_only=True)],
                      [(base, 0), (some, 0)])
    done("fitting", graph, ran)
    # A cache with files in it: what one process leaves there is there for the next.
    for turn in ("1", "2"):
        graph = Graph()
        base = graph.source("docker-image://docker.io/library/busybox:latest")
        words = tree(graph, ("/d/first", "begin "))
        cache = message((1, 1), (2, "d"), (3, "/cache"), (4, -1), (6, 3), (20, message((1, "files"))))
        line = f"echo {turn} >> /cache/log; cat /cache/first /cache/log > /said"
        ran = graph.shell(line, [mount(0, "/", 0), cache], [(base, 0), (words, 0)])
        done("cache-" + turn, graph, ran)


def endless(graph, depth):
    """A graph that makes one that makes one … and so on."""
    if not depth:
        return graph.files([action(-1, 0, 5, mkfile("/end", "1"))])
    inner = Graph()
    definition = inner.finish(endless(inner, depth - 1))
    made = graph.files([action(-1, 0, 5, mkfile("/buildkit.llb.definition", definition))])
    body = message((1, -1), (2, message((1, "buildkit.llb.definition"), (2, message()))))
    return graph.op(5, body, [(made, 0)])


class Bridge:
    """A front end that drives a build by itself: results are looked at before one of them is returned."""

    def __init__(self, channel, reference, session=""):
        self.channel, self.reference = channel, reference
        begin = channel.unary_unary(SOLVE, request_serializer=None, response_deserializer=None)
        request = message((1, reference), (3, "image"), *pairs(4, {"name": reference}))
        request += message((5, session)) if session else b""
        self.whole = begin.future(request, timeout=60)

    def call(self, method, *pairs_):
        call = self.channel.unary_unary(BRIDGE + method, request_serializer=None, response_deserializer=None)
        metadata = [("buildkit-controlapi-buildid", self.reference)]
        return call(message(*pairs_), timeout=60, metadata=metadata)

    def told(self, name, method, *pairs_):
        """What a call answers, or why it does not."""
        try:
            return self.call(method, *pairs_)
        except grpc.RpcError as error:
            print(name, error.code().name, error.details())
            return b""


def stat(bytes_):
    """A Stat as one word: path, mode and kind, size, where it leads."""
    mode = first(bytes_, 2, 0)
    words = [first(bytes_, 1).decode(), f"{mode:x}", str(first(bytes_, 5, 0)), first(bytes_, 7).decode()]
    return ":".join(words)


class Content(grpc.GenericRpcHandler):
    """containerd's content service on a session: blobs of an OCI layout, to be read."""

    def __init__(self, directory):
        self.directory = directory

    def service(self, details):
        if details.method.endswith("Content/Read"):
            return grpc.unary_stream_rpc_method_handler(self.read)
        return None

    def read(self, request, context):
        store = dict(context.invocation_metadata()).get("buildkit-attachable-store-id")
        assert store == "oci:mine", store
        name = first(request, 1).decode().removeprefix("sha256:")
        with open(os.path.join(self.directory, "blobs/sha256", name), "rb") as file:
            while piece := file.read(1 << 16):
                yield message((2, piece))


def offer(path, *services):
    """A session that offers services; answers its name. The server has a socket of its own, and the connection to the
    daemon leads there."""
    server = grpc.server(futures.ThreadPoolExecutor(), handlers=services)
    server.add_insecure_port("unix:session.sock")
    server.start()
    ours, theirs = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    ours.connect(path)
    ours.sendall(b"POST /session HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"
                 b"X-Docker-Expose-Session-Uuid: mine\r\nX-Docker-Expose-Session-Name: graph\r\n"
                 b"X-Docker-Expose-Session-Grpc-Method: /containerd.services.content.v1.Content/Read\r\n\r\n")
    head = b""
    while b"\r\n\r\n" not in head:
        head += ours.recv(1)
    assert b" 101 " in head, head
    theirs.connect("session.sock")

    def relay(source, target):
        while piece := source.recv(1 << 16):
            target.sendall(piece)

    for ends in ((ours, theirs), (theirs, ours)):
        threading.Thread(target=relay, args=ends, daemon=True).start()
    return "mine", server


def layout(channel, path, directory):
    """The image of a layout as a source, and one more of it under a name that the client does not offer."""
    with open(os.path.join(directory, "index.json")) as file:
        digest = json.load(file)["manifests"][0]["digest"]
    session, server = offer(path, Content(directory))
    graph = Graph()
    base = graph.source(f"oci-layout://any/name@{digest}", {"oci.store": "mine", "oci.session": session})
    ran = graph.shell("cat /own > /said", [mount(0, "/", 0)], [(base, 0)])
    solve(channel, "of-layout", graph.finish(ran), attributes={"name": "of-layout"}, session=session)
    blob(channel, "blob-of-layout", f"oci-layout+blob://any/name@{digest}", {"oci.store": "mine"}, session)
    server.stop(None)


def blob(channel, reference, identifier, attributes=None, session=""):
    """One file: what it is called and whose it is."""
    graph = Graph()
    base = graph.source("docker-image://docker.io/library/busybox:latest")
    wish = {"http.filename": "kept", "http.perm": "0640", "http.uid": "7", "http.gid": "8"}
    file = graph.source(identifier, {**wish, **(attributes or {})})
    line = "cd /in; stat -c '%a %u %g %n' * > /said; sha256sum * | cut -c1-64 >> /said"
    ran = graph.shell(line, [mount(0, "/", 0), mount(1, "/in", read_only=True)], [(base, 0), (file, 0)])
    solve(channel, reference, graph.finish(ran), attributes={"name": reference}, session=session)


def blobs(channel, place):
    name, digest = place.split("@")
    registry, repository = name.split("/")
    blob(channel, "blob-of-registry", f"docker-image+blob://{place}")
    blob(channel, "blob-of-web", f"http://{registry}/v2/{repository}/blobs/{digest}")
    blob(channel, "blob-without-digest", f"docker-image+blob://{name}")
    blob(channel, "blob-with-tag", f"docker-image+blob://{name}:latest@{digest}")
    blob(channel, "blob-not-there", f"docker-image+blob://{name}@sha256:{'0' * 64}")
    blob(channel, "blob-name", f"docker-image+blob://{place}", {"http.filename": "../x"})


def look():
    graph = Graph()
    words = graph.files([
        action(-1, -1, 6, message((1, "/d/deep"), (2, 0o755), (3, 1), (5, -1))),
        action(0, -1, 5, mkfile("/d/word.txt", "some words")),
        action(1, -1, 5, mkfile("/d/other", "")),
        action(2, 0, 8, message((1, "d/word.txt"), (2, "/link"), (4, -1))),
    ])
    return graph.finish(words)


def drive(channel):
    bridge = Bridge(channel, "driven")
    solved = bridge.call("Solve", (1, look()), (5, 1))
    result = first(solved, 3)
    name = first(first(result, 3), 1)
    data = lambda answer: first(answer, 1).decode()
    print("file", data(bridge.call("ReadFile", (1, name), (2, "/d/word.txt"))))
    print("range", data(bridge.call("ReadFile", (1, name), (2, "d/word.txt"), (3, message((1, 5), (2, 3))))))
    print("through", data(bridge.call("ReadFile", (1, name), (2, "/link"))))
    entries = [stat(entry) for _, entry in fields(bridge.call("ReadDir", (1, name), (2, "/d")))]
    print("entries", *entries)
    entries = [stat(entry) for _, entry in fields(bridge.call("ReadDir", (1, name), (2, "/d"), (3, "*.txt")))]
    print("chosen", *entries)
    for path in ("/d/word.txt", "/d", "/link", "/"):
        print("stat", stat(first(bridge.call("StatFile", (1, name), (2, path)), 1)))
    bridge.told("no-file", "ReadFile", (1, name), (2, "/d/none"))
    bridge.told("no-directory", "ReadDir", (1, name), (2, "/none"))
    bridge.told("no-stat", "StatFile", (1, name), (2, "/d/none/below"))
    bridge.told("outside", "ReadFile", (1, name), (2, "/../../../../../../etc/hostname"))
    bridge.told("directory", "ReadFile", (1, name), (2, "/d"))
    bridge.told("unknown", "ReadFile", (1, "no-result"), (2, "/d"))
    bridge.told("container", "NewContainer", (1, "c"))
    bridge.call("Return", (1, result))
    bridge.whole.result()
    print("driven done")


def history(channel):
    """What is remembered of builds, and attested of them, as Buildx reads it."""
    def stream(method, *pairs_):
        call = channel.unary_stream(method, request_serializer=None, response_deserializer=None)
        return list(call(message(*pairs_), timeout=60))

    control, content = "/moby.buildkit.v1.Control/", "/containerd.services.content.v1.Content/"
    records = [first(event, 2) for event in stream(control + "ListenBuildHistory", (3, 1))]
    print("remembered", *sorted(first(record, 1).decode() for record in records if first(record, 1) == b"quiet"), ".")
    attested = [first(first(record, 10), 2) for record in records]
    digest = next(first(one, 2) for one in attested if one).decode()
    info = channel.unary_unary(content + "Info", request_serializer=None, response_deserializer=None)
    size = first(first(info(message((1, digest))), 1), 2, 0)
    whole = b"".join(first(piece, 2) for piece in stream(content + "Read", (1, digest)))
    part = b"".join(first(piece, 2) for piece in stream(content + "Read", (1, digest), (2, 3), (3, 4)))
    said = json.loads(whole)
    is_right = (len(whole) == size, hashlib.sha256(whole).hexdigest() == digest.split(":")[1], whole[3:7] == part)
    print("attested", *is_right, said["buildType"], said["materials"][0]["uri"].split("?")[0])
    for wrong in ("sha256:" + "0" * 64, "../../records"):
        try:
            stream(content + "Read", (1, wrong))
        except grpc.RpcError as error:
            print("not-attested", error.code().name)


def main():
    # By itself it would send the socket's path as the authority, which is no name of a host.
    channel = grpc.insecure_channel("unix:" + sys.argv[1], options=[("grpc.default_authority", "localhost")])
    for name in ("copied", "merged", "again"):
        graph, copied, merged = whole()
        solve(channel, name, graph.finish(copied if name == "copied" else merged), attributes={"name": name})
    graph = Graph()
    solve(channel, "layout", graph.finish(graph.source("oci-layout://x@sha256:" + "0" * 64)))
    graph = Graph()
    solve(channel, "build", graph.finish(graph.op(5, message((1, -1)))))
    states(channel)
    solve(channel, "gone", message((1, message((1, message((1, "sha256:" + "0" * 64)))))))
    solve(channel, "odd", message((1, b"\xff\xff")))
    graph = Graph()
    base = graph.source("docker-image://docker.io/library/busybox:latest")
    solve(channel, "fails", graph.finish(graph.shell("exit 3", [mount(0, "/", 0)], [(base, 0)])))
    graph = Graph()
    base = graph.source("docker-image://docker.io/library/busybox:latest")
    # Nobody is to hear of this one; and what is meant for another store changes nothing.
    solve(channel, "quiet", graph.finish(base), attributes={"name": "quiet", "prefer-image-digest": "true"}, internal=True)
    drive(channel)
    history(channel)
    layout(channel, sys.argv[1], sys.argv[2])
    blobs(channel, sys.argv[3])


if __name__ == "__main__":
    main()
