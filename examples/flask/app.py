"""Says who asks, and through what."""

import flask

app = flask.Flask(__name__)


@app.get("/")
def hello():
    through = flask.request.headers.get("X-Forwarded-Proto", "nothing")
    return f"Hello {flask.request.args.get('name', 'world')}, through {through}.\n"
