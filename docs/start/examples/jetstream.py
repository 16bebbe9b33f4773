#!/usr/bin/env python3
"""Asks NATS JetStream one thing: jetstream.py nats://USER:PASSWORD@HOST:PORT REQUEST [FILE]

REQUEST is the end of a subject $JS.API.…, FILE the JSON document that goes with it. Prints the answer. Python's own library only.
    STREAM.CREATE.fieldgate stream.json            creates the stream; one that is there with the same settings stays as it is
    STREAM.UPDATE.fieldgate stream.json            changes it where it was created with other settings
    STREAM.INFO.fieldgate                          how much it holds
    CONSUMER.NAMES.fieldgate                       who reads it
    CONSUMER.DELETE.fieldgate.NAME                 takes out a reader that is gone for good
"""
import json
import pathlib
import socket
import sys
from urllib.parse import urlsplit

url, request = urlsplit(sys.argv[1]), sys.argv[2]
body = pathlib.Path(sys.argv[3]).read_bytes() if len(sys.argv) > 3 else b""
login = json.dumps({"verbose": False, "user": url.username, "pass": url.password})
with socket.create_connection((url.hostname, url.port or 4222), timeout=10) as server:
    server.sendall(f"CONNECT {login}\r\nSUB _INBOX.answer 1\r\nPUB $JS.API.{request} _INBOX.answer {len(body)}\r\n".encode() + body + b"\r\n")
    for line in server.makefile("rb"):
        if line.startswith(b"-ERR"):
            sys.exit(f"the broker refused: {line.decode().strip()}")
        if line.startswith(b"{"):
            answer = json.loads(line)
            print(json.dumps(answer, indent=2))
            sys.exit("error" in answer)
sys.exit("the broker closed the connection")
