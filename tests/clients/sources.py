"""A front end of its own that asks of images what they are: by name and as sources, in registries and layouts. Its
session has the password of the registry.

Usage: sources.py SOCKET LAYOUT
"""

import json
import os
import sys

import grpc

from graph import Bridge, Content, first, message, offer, pairs


class Credentials(grpc.GenericRpcHandler):
    """Passwords and no tokens, as older clients have them."""

    def service(self, details):
        if details.method == "/moby.filesync.v1.Auth/Credentials":
            return grpc.unary_unary_rpc_method_handler(lambda request, context: message((1, "me"), (2, "hush")))
        return None


def told(config):
    return json.loads(config).get("config", {}).get("Labels", {}).get("of", "none") if config else "nothing"


def of_image(bridge, word, name, *more):
    answer = bridge.told(word, "ResolveImageConfig", (1, name), *more)
    if answer:
        digest = first(answer, 1).decode() or "nothing"
        print(word, first(answer, 3).decode(), digest, told(first(answer, 2)))


def of_source(bridge, word, name, attributes=None, *more):
    source = message((1, name), *pairs(2, attributes or {}))
    answer = bridge.told(word, "ResolveSourceMeta", (1, source), *more)
    if answer:
        image = first(answer, 2)
        print(word, first(first(answer, 1), 1).decode(), first(image, 1).decode() or "nothing", told(first(image, 2)))


def main():
    path, directory = sys.argv[1:]
    channel = grpc.insecure_channel("unix:" + path, options=[("grpc.default_authority", "localhost")])
    session, server = offer(path, Content(directory), Credentials())
    bridge = Bridge(channel, "asking", session)
    arm = message((1, "arm64"), (2, "linux"))
    image = "localhost:5000/two:1"
    of_image(bridge, "own", image)
    of_image(bridge, "arm", image, (2, arm))
    of_image(bridge, "here", "busybox")
    of_image(bridge, "local", "localhost:5000/two:here", (3, "local"))
    of_image(bridge, "pull", "localhost:5000/two:here", (3, "pull"))
    of_image(bridge, "wrong", "UPPER")
    of_source(bridge, "meta", "docker-image://" + image, None, (2, arm))
    of_source(bridge, "no-config", "docker-image://" + image, None, (6, message((1, 1))))
    of_source(bridge, "other", "git://h/r")
    with open(os.path.join(directory, "index.json")) as file:
        digest = json.load(file)["manifests"][0]["digest"]
    name = f"any/name@{digest}"
    of_image(bridge, "layout", name, (5, 1), (6, session), (7, "mine"))
    of_source(bridge, "meta-layout", "oci-layout://" + name, {"oci.store": "mine", "oci.session": session})
    bridge.call("Return", (1, b""))
    bridge.whole.result()
    server.stop(None)
    # Without a session there is no password.
    nobody = Bridge(channel, "nobody")
    of_image(nobody, "nobody", image)
    unknown = Bridge(channel, "unknown")
    unknown.reference = "none"
    of_image(unknown, "unknown", image)
    sys.stdout.flush()
    os._exit(0)


main()
