"""What must be found nowhere but in Secrets, and how to look for it."""

import base64
import gzip
import io
import subprocess
import tarfile


def secret_values(node, namespace="fieldgate"):
    """Each seed of a broker user and the key of the hub, by Secret and key. Public keys are no secrets."""
    values = {}
    for item in node.get("secrets", namespace=namespace)["items"]:
        for key, encoded in item.get("data", {}).items():
            value = base64.b64decode(encoded).decode(errors="replace")
            where = f"{item['metadata']['name']}/{key}"
            shared = [part.partition("=")[2] for part in value.split(";") if part.startswith("SharedAccessKey=")]
            if shared:
                values[where] = shared[0]
            elif value.startswith("SU"):
                values[where] = value.strip()
    return values


def finds(values, text):
    """Which of the values stand in a text (bytes), as they are or in Base64 once more."""
    found = []
    for where, value in values.items():
        plain = value.encode()
        if plain in text or base64.b64encode(plain) in text:
            found.append(where)
    return found


def archive_contents(path):
    """The content of every file in every layer of an image archive: (name, bytes)."""
    raw = subprocess.run(["zstd", "-dcq", str(path)], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(raw)) as outer:
        for member in outer:
            if member.isfile():
                blob = _unpacked(outer.extractfile(member).read())
                yield member.name, blob


def _unpacked(blob):
    """A layer without its compression."""
    if blob[:2] == b"\x1f\x8b":
        return gzip.decompress(blob)
    if blob[:4] == b"\x28\xb5\x2f\xfd":
        return subprocess.run(["zstd", "-dcq"], input=blob, capture_output=True, check=True).stdout
    return blob
