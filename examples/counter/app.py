"""Counts the visits of one page."""

import os

import flask
import redis

app = flask.Flask(__name__)
visits = redis.Redis(host=os.environ["REDIS_HOST"])


@app.get("/")
def count():
    return f"Seen {visits.incr('hits')} times.\n"
