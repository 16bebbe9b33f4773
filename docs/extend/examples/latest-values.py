#!/usr/bin/env python3
"""A module in Python's own library: keeps the latest value of every tag, notices gaps, and offers the command `latest`."""
import base64
import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SUBSCRIPTIONS = [{"pubsubname": "pubsub-telemetry", "topic": "telemetry", "route": "/events", "metadata": {"rawPayload": "true"}}]
NAME = {"type": "string"}
COMMANDS = [{
    "name": "latest",
    "description": "The latest good value of a tag: {\"device\", \"tag\"}",
    "input": {"type": "object", "properties": {"device": NAME, "tag": NAME}, "required": ["device", "tag"], "additionalProperties": False},
    "output": {"type": "object", "properties": {"value": {}, "timestamp": NAME}},
}]
latest, last = {}, {}  # (device, tag): (value, timestamp) and (source, subject, epoch): sequence


def take(event):
    """At least once: an event may come again, or late. The sequence tells."""
    data = event["data"]
    stream = event["source"], event["subject"], data["epoch"]
    before = last.get(stream, 0)
    if data["sequence"] <= before:
        return
    if before and data["sequence"] > before + 1:
        print(f"{event['subject']}: {data['sequence'] - before - 1} events missing before {data['sequence']}, or still on their way", flush=True)
    last[stream] = data["sequence"]
    for tag, value in data["values"].items():
        latest[data["device"], tag] = value, data["timestamp"]


def command_latest(body):
    try:
        given = dict(json.loads(body))
    except (ValueError, TypeError):
        return 400, {"error": {"code": "invalid-input", "message": "the input is not a JSON object"}}
    for field in ("device", "tag"):
        if not isinstance(given.get(field), str):
            return 400, {"error": {"code": "invalid-input", "message": f"{field} is missing or not a text", "field": field}}
    if (given["device"], given["tag"]) not in latest:
        return 404, {"error": {"code": "unknown-tag", "message": f"no value of {given['device']}/{given['tag']} came yet", "field": "tag"}}
    value, timestamp = latest[given["device"], given["tag"]]
    return 200, {"value": value, "timestamp": timestamp}


class Module(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        answers = {"/dapr/subscribe": SUBSCRIPTIONS, "/dapr/config": {}, "/commands": {"commands": COMMANDS}}
        self.answer(200 if self.path in answers else 404, answers.get(self.path, {}))

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"] or 0)) or b"{}"
        if self.path == "/events":
            try:
                event = json.loads(base64.b64decode(json.loads(body)["data_base64"]))  # raw: the bytes that were published
                if event["type"] == "com.fieldgate.measurements.v1":
                    take(event)
            except (ValueError, KeyError, TypeError) as error:
                # Asking for it again would bring it back for ever.
                print(f"an event that cannot be read: {error!r}", flush=True)
            self.answer(200, {"status": "SUCCESS"})
        elif self.path == "/latest":
            self.answer(*command_latest(body))
        else:
            self.answer(404, {"error": {"code": "unknown-command", "message": "GET /commands lists them"}})

    def answer(self, status, document):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("APP_PORT", "6002"))), Module).serve_forever()
