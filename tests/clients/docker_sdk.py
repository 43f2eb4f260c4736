"""What users of the docker SDK for Python do, asserted the way they rely on it. Wants DOCKER_HOST and the image busybox."""

import io
import tarfile

import docker
from docker.errors import APIError, ContainerError, ImageNotFound, NotFound

client = docker.from_env()


def expect(error, call, *arguments, **options):
    try:
        call(*arguments, **options)
    except error as caught:
        return caught
    raise AssertionError(f"{call} should raise {error}")


def system():
    assert client.ping()
    version = client.version()
    assert version["ApiVersion"].startswith("1.") and version["Components"], version
    assert client.info()["OSType"] == "linux"


def running():
    assert client.containers.run("busybox", ["echo", "hello"], remove=True) == b"hello\n"
    error = expect(ContainerError, client.containers.run, "busybox", ["sh", "-c", "echo bad >&2; exit 3"], remove=True)
    assert error.exit_status == 3 and b"bad" in error.stderr
    expect(ImageNotFound, client.api.create_container, "nosuch:tag")
    expect(NotFound, client.containers.get, "nosuch")


def life():
    container = client.containers.run(
        "busybox",
        ["sh", "-c", "echo out; echo err >&2; exec sleep 100"],
        name="sdk",
        detach=True,
        environment={"A": "1"},
        labels={"tier": "front"},
        mem_limit="64m",
        tmpfs={"/scratch": "size=1m"},
    )
    assert container.status == "created"
    container.reload()
    assert container.status == "running" and container.name == "sdk"
    assert container.labels["tier"] == "front"
    assert container.attrs["HostConfig"]["Memory"] == 64 << 20
    assert [c.name for c in client.containers.list(filters={"label": "tier=front"})] == ["sdk"]
    while len(container.logs().splitlines()) < 2:
        pass
    assert container.logs(stderr=False) == b"out\n" and container.logs(stdout=False) == b"err\n"
    assert b"out" in next(iter(container.logs(stream=True, stderr=False)))

    result = container.exec_run(["sh", "-c", "echo $A; exit 5"])
    assert (result.exit_code, result.output) == (5, b"1\n")
    result = container.exec_run(["sh", "-c", "echo a; echo b >&2"], demux=True)
    assert result.output == (b"a\n", b"b\n")

    assert container.top()["Processes"]
    container.pause()
    container.reload()
    assert container.status == "paused"
    container.unpause()
    container.rename("other")
    container.restart(timeout=0)
    container.reload()
    assert container.name == "other" and container.status == "running"
    assert {change["Kind"] for change in container.diff() or []} <= {0, 1, 2}
    container.kill()
    assert container.wait()["StatusCode"] == 137
    expect(APIError, container.exec_run, ["true"])
    container.remove()
    expect(NotFound, container.reload)


def attached():
    container = client.containers.create("busybox", ["tr", "a-z", "A-Z"], stdin_open=True)
    socket = container.attach_socket(params={"stdin": 1, "stream": 1})
    container.start()
    socket._sock.sendall(b"words\n")
    socket._sock.shutdown(1)
    assert container.wait(timeout=20)["StatusCode"] == 0
    assert container.logs() == b"WORDS\n"
    container.remove()


def images():
    image = client.images.get("busybox")
    assert "busybox:latest" in image.tags and image.id.startswith("sha256:")
    assert image.history()
    assert image.tag("sdk/busybox", "1")
    saved = b"".join(client.images.get("sdk/busybox:1").save(named="sdk/busybox:1"))
    names = tarfile.open(fileobj=io.BytesIO(saved)).getnames()
    assert "manifest.json" in names
    client.images.remove("sdk/busybox:1")
    expect(ImageNotFound, client.images.get, "sdk/busybox:1")
    assert client.images.load(saved)[0].tags
    client.images.remove("sdk/busybox:1")

    container = client.containers.create("busybox", "true")
    made = container.commit("sdk/made", "1", changes='CMD ["echo", "made"]')
    container.remove()
    assert client.containers.run(made.id, remove=True) == b"made\n"
    client.images.remove("sdk/made:1")


def volumes_and_networks():
    volume = client.volumes.create("sdk-volume", labels={"k": "v"})
    client.containers.run("busybox", ["touch", "/data/file"], volumes={"sdk-volume": {"bind": "/data", "mode": "rw"}}, remove=True)
    listed = client.containers.run("busybox", ["ls", "/data"], volumes={"sdk-volume": {"bind": "/data", "mode": "ro"}}, remove=True)
    assert listed == b"file\n"
    volume.remove()
    expect(NotFound, client.volumes.get, "sdk-volume")
    assert {"bridge", "host", "none"} <= {network.name for network in client.networks.list()}


def events():
    stream = client.events(decode=True, filters={"type": "container", "event": "die"})
    client.containers.run("busybox", "true", remove=True)
    event = next(iter(stream))
    assert event["Action"] == "die" and event["Actor"]["Attributes"]["exitCode"] == "0"
    stream.close()


for part in [system, running, life, attached, images, volumes_and_networks, events]:
    part()
    print(part.__name__)
print("all is well")
