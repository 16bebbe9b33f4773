"""Serves bundles to the guest, as a plant's web server does: with ranges, and with a line that may break."""

import http.server
import pathlib
import re
import threading


class Server:
    """On loopback, which the guest reaches as 10.0.2.2. `cut_after`: the next answer breaks off behind so many bytes."""

    def __init__(self, folder):
        self.cut_after = None
        self.asked = []
        folder = pathlib.Path(folder)
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                outer._answer(self, folder / self.path.lstrip("/"), True)

            def do_HEAD(self):
                outer._answer(self, folder / self.path.lstrip("/"), False)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def url(self, path):
        return f"http://10.0.2.2:{self.server.server_port}/{path.name}"

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def _answer(self, request, path, with_body):
        size = path.stat().st_size
        wanted = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
        start = int(wanted[1]) if wanted else 0
        self.asked.append(start)
        request.send_response(206 if wanted else 200)
        if wanted:
            request.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        request.send_header("Content-Length", str(size - start))
        request.send_header("ETag", f'"{path.stat().st_mtime_ns}"')
        request.send_header("Accept-Ranges", "bytes")
        request.end_headers()
        if not with_body:
            return
        left, self.cut_after = self.cut_after, None
        with path.open("rb") as file:
            file.seek(start)
            while piece := file.read(1 << 16):
                if left is not None:
                    if left <= 0:
                        request.close_connection = True
                        return
                    left -= len(piece)
                request.wfile.write(piece)
