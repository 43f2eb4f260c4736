# A registry that wants tokens, and its token service: in front of a registry that wants nothing, at the port below.
# What is asked for tokens is written down: `METHOD USER-AGENT PASSWORD SCOPE`.
import base64, http.client, http.server, sys, urllib.parse

port = int(sys.argv[1])
TOKEN = "T0ken-of-me"

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *words):
        pass

    def reply(self, status, body=b"", headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def token(self, body):
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
        query.update(urllib.parse.parse_qsl(body.decode()))
        password = query.get("password", "-")
        if "Authorization" in self.headers:
            password = base64.b64decode(self.headers["Authorization"].split()[1]).decode().split(":")[1]
        agent = self.headers.get("User-Agent", "-").split("/")[0]
        with open("tokens.log", "a") as log:
            log.write(f"{self.command} {agent} {password} {query.get('scope', '-')}\n")
        if password != "hush":
            return self.reply(401, b"{}")
        self.reply(200, b'{"token":"%s","access_token":"%s","expires_in":300}' % (TOKEN.encode(), TOKEN.encode()))

    def any(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path.startswith("/token"):
            return self.token(body)
        if self.headers.get("Authorization") != "Bearer " + TOKEN:
            with open("refused.log", "a") as log:
                log.write(f"{self.headers.get('Authorization', 'nobody')}\n")
            realm = f'Bearer realm="http://127.0.0.1:{port}/token",service="the registry"'
            return self.reply(401, b"{}", [("WWW-Authenticate", realm)])
        there = http.client.HTTPConnection("127.0.0.1", port + 1)
        headers = {name: value for name, value in self.headers.items() if name not in ("Authorization", "Content-Length")}
        there.request(self.command, self.path, body or None, {**headers, "Content-Length": str(len(body))})
        answer = there.getresponse()
        kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in ("content-length", "connection", "transfer-encoding")]
        length = answer.getheader("Content-Length")
        body = answer.read()
        if self.command == "HEAD" and length:
            self.send_response(answer.status)
            for name, value in kept + [("Content-Length", length)]:
                self.send_header(name, value)
            return self.end_headers()
        self.reply(answer.status, body, kept)

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = any

server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
open("tokens.ready", "w").write("yes")
server.serve_forever()
