"""The reference image takes the release of k3s that the Yocto image packs, from the same place, and no other bytes."""

import functools
import hashlib
import http.server
import os
import subprocess
import threading

import pytest

from layers import ROOT

ASSETS = {"k3s": b"program", "k3s-airgap-images-amd64.tar.zst": b"images"}


@pytest.fixture
def release(tmp_path):
    """A mirror with small files, and the file that names them."""
    folder = tmp_path / "mirror/v1.2.3+k3s1"
    folder.mkdir(parents=True)
    for name, content in ASSETS.items():
        (folder / name).write_bytes(content)
    program, images = (hashlib.sha256(content).hexdigest() for content in ASSETS.values())
    file = tmp_path / "release.inc"
    file.write_text(f'PV = "1.2.3"\nSRC_URI[k3s-amd64.sha256sum] = "{program}"\nSRC_URI[images-amd64.sha256sum] = "{images}"\n')
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path / "mirror")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, {"K3S_RELEASE_FILE": str(file), "FIELDGATE_K3S_RELEASES": f"http://127.0.0.1:{server.server_port}"}
    server.shutdown()
    server.server_close()


def shell(line, **more):
    script = f'. "{ROOT}/scripts/lib/build.sh"; . "{ROOT}/scripts/lib/k3s_release.sh"; {line}'
    return subprocess.run(["bash", "-c", script], env=os.environ | more, capture_output=True, text=True)


def test_program_and_images_are_fetched_once(release, tmp_path):
    mirror, names = release
    line = f'download_k3s "{tmp_path}/k3s" amd64; echo "$FIELDGATE_K3S $FIELDGATE_K3S_IMAGES"'
    done = shell(line, **names)
    program, images = done.stdout.split()
    assert open(program, "rb").read() == ASSETS["k3s"] and os.access(program, os.X_OK), done
    assert open(images, "rb").read() == ASSETS["k3s-airgap-images-amd64.tar.zst"]
    for name in ASSETS:
        (mirror / name).unlink()
    again = shell(line, **names)
    assert again.returncode == 0 and "downloading" not in again.stderr, again


def test_other_bytes_are_not_taken(release, tmp_path):
    mirror, names = release
    (mirror / "k3s").write_bytes(b"another program")
    done = shell(f'download_k3s "{tmp_path}/k3s" amd64', **names)
    assert done.returncode == 1 and hashlib.sha256(b"another program").hexdigest() in done.stderr, done
    assert not list((tmp_path / "k3s").iterdir())


def test_what_cannot_be_fetched_says_what_else_to_do(release, tmp_path):
    mirror, names = release
    (mirror / "k3s").unlink()
    done = shell(f'download_k3s "{tmp_path}/k3s" amd64', **names)
    assert done.returncode == 1 and "FIELDGATE_K3S_RELEASES" in done.stderr, done


def test_the_real_file_says_all_that_is_needed():
    for name in ("PV", "FIELDGATE_K3S_RELEASES", *(f"SRC_URI\\[{what}-{where}.sha256sum\\]" for what in ("k3s", "images") for where in ("amd64", "arm64"))):
        assert shell(f"k3s_release_value '{name}'").stdout.strip(), name
