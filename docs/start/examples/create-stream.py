#!/usr/bin/env python3
"""Creates the stream `fieldgate` on a NATS server: create-stream.py nats://USER:PASSWORD@HOST:PORT

Python's own library only. A stream that exists already with these settings is left as it is.
"""
import json
import socket
import sys
from urllib.parse import urlsplit

STREAM = {
    "name": "fieldgate",
    "subjects": ["telemetry", "alarms", "status", "commands", "config", "deadletter"],
    "retention": "interest",  # an event goes when every consumer has acknowledged it
    "discard": "new",  # a full stream refuses events; their source keeps and repeats them
    "storage": "file",
    "max_bytes": 256 << 20,
    "duplicate_window": 120 * 10**9,  # nanoseconds
    "num_replicas": 1,
}

url = urlsplit(sys.argv[1])
body = json.dumps(STREAM)
connect = json.dumps({"verbose": False, "user": url.username, "pass": url.password})
with socket.create_connection((url.hostname, url.port or 4222), timeout=10) as server:
    server.sendall(f"CONNECT {connect}\r\nSUB _INBOX.setup 1\r\nPUB $JS.API.STREAM.CREATE.fieldgate _INBOX.setup {len(body)}\r\n{body}\r\n".encode())
    for line in server.makefile("r", encoding="utf-8", newline="\r\n"):
        if line.startswith("-ERR"):
            sys.exit(f"the broker refused: {line.strip()}")
        if line.startswith("{"):
            error = json.loads(line).get("error")
            sys.exit(f"the broker refused: {error['description']}" if error else None)
sys.exit("the broker closed the connection")
