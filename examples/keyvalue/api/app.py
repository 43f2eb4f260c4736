"""GET, PUT and DELETE /api/keys/NAME, GET /api/keys: names and values, kept in Redis."""

import os

import flask
import redis

app = flask.Flask(__name__)
store = redis.Redis(
    host=os.environ["REDIS_HOST"],
    port=int(os.environ.get("REDIS_PORT", "6379")),
    db=int(os.environ.get("REDIS_DB", "0")),
    decode_responses=True,
)


@app.get("/api/health")
def health():
    store.ping()
    return {"status": "ok"}


@app.get("/api/keys")
def names():
    return {"keys": sorted(store.scan_iter())}


@app.get("/api/keys/<name>")
def read(name):
    value = store.get(name)
    if value is None:
        return {"error": f"there is no {name}"}, 404
    return {"key": name, "value": value}


@app.put("/api/keys/<name>")
def write(name):
    value = flask.request.get_data(as_text=True)
    store.set(name, value)
    return {"key": name, "value": value}


@app.delete("/api/keys/<name>")
def remove(name):
    return {"key": name, "removed": bool(store.delete(name))}

