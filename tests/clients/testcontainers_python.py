"""testcontainers for Python, used as its own documentation says: containers that a test needs, waited for and removed."""

import os
import time
import urllib.request

os.environ["TESTCONTAINERS_RYUK_DISABLED"] = "true"

from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network
from testcontainers.core.waiting_utils import wait_for_logs

import docker

# A server that says when it is ready, and is reached at a port that the engine chooses.
script = "mkdir /www; echo hello > /www/index.html; echo ready; exec httpd -f -p 80 -h /www"
with DockerContainer("busybox").with_command(["sh", "-c", script]).with_exposed_ports(80).with_env("A", "1") as web:
    wait_for_logs(web, "ready", timeout=30)
    address = f"http://{web.get_container_host_ip()}:{web.get_exposed_port(80)}/"
    deadline = time.monotonic() + 30
    while True:
        try:
            page = urllib.request.urlopen(address, timeout=5).read()
            break
        except OSError:
            assert time.monotonic() < deadline, address
    assert page == b"hello\n", page
    code, output = web.exec(["sh", "-c", "echo $A; exit 3"])
    assert (code, output) == (3, b"1\n"), (code, output)
    out, err = web.get_logs()
    assert out == b"ready\n" and err == b"", (out, err)

# Two that know each other by name.
with Network() as network:
    server = DockerContainer("busybox").with_command("sleep 100").with_network(network).with_network_aliases("server")
    with server, DockerContainer("busybox").with_command("sleep 100").with_network(network) as client:
        code, output = client.exec(["ping", "-c", "1", "-W", "5", "server"])
        assert code == 0, output

# A volume from the host, and nothing left behind.
os.makedirs("mapped", exist_ok=True)
with open("mapped/file", "w") as file:
    file.write("word")
with DockerContainer("busybox").with_command("sleep 100").with_volume_mapping(os.path.abspath("mapped"), "/in", "ro") as box:
    code, output = box.exec(["cat", "/in/file"])
    assert (code, output) == (0, b"word"), (code, output)
assert docker.from_env().containers.list(all=True) == []
print("all is well")
