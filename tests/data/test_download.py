"""Files of a known md5: what is there is verified, what comes is verified, and nothing damaged is ever used."""

import hashlib
import http.server
import io
import tarfile
import threading

import pytest

from lpa_core.data.download import fetch, find_or_fetch, unpack, verified

CONTENT = b"learn to pay attention " * 100_000


def md5_of(content):
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


MD5 = md5_of(CONTENT)


class Handler(http.server.BaseHTTPRequestHandler):
    """/whole sends CONTENT, /cut promises it and hangs up half-way, /silent gives no length, all else is missing."""

    def do_GET(self):
        name = self.path.strip("/").split("/")[0]
        if name not in ("whole", "cut", "silent") or "//" in self.path:
            self.send_error(404)
            return
        self.send_response(200)
        if name != "silent":
            self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[: len(CONTENT) // 2] if name == "cut" else CONTENT)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.fixture
def mirror(tmp_path):
    """A file:// mirror that holds data.bin."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    (folder / "data.bin").write_bytes(CONTENT)
    return folder.as_uri()


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def find(path, md5=MD5, url="file:///nowhere/data.bin", **options):
    find_or_fetch(path, md5, url, **{"name": "things", "download": True, "mirror": None, **options})


# verified -------------------------------------------------------------------------------------------------------------


def test_verified_tells_whether_the_file_is_there(root):
    assert not verified(root / "data.bin", MD5)
    (root / "data.bin").write_bytes(CONTENT)
    assert verified(root / "data.bin", MD5)


def test_a_damaged_file_is_named_and_left_alone(root):
    (root / "data.bin").write_bytes(CONTENT[:-1])
    with pytest.raises(ValueError, match=rf"data\.bin is damaged.*{md5_of(CONTENT[:-1])}, not {MD5}.*delete"):
        verified(root / "data.bin", MD5)
    assert (root / "data.bin").read_bytes() == CONTENT[:-1]


# fetch ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["whole", "silent"])
def test_fetch_brings_the_file_with_a_progress_bar(server, root, name, capsys):
    fetch(f"{server}/{name}/data.bin", root / "new" / "data.bin", MD5)
    assert (root / "new" / "data.bin").read_bytes() == CONTENT
    assert names(root / "new") == ["data.bin"]
    shown = capsys.readouterr()
    assert "data.bin" in shown.err
    assert "2.30M" in shown.err
    assert shown.out == ""


def test_fetch_never_leaves_a_download_that_was_cut_short(server, root):
    with pytest.raises(OSError, match=f"damaged or cut short: its md5 is .*, not {MD5}"):
        fetch(f"{server}/cut/data.bin", root / "data.bin", MD5)
    assert names(root) == []


def test_fetch_refuses_another_file_and_keeps_what_was_there(server, root):
    (root / "data.bin").write_bytes(b"old")
    with pytest.raises(OSError, match=f"damaged or cut short: its md5 is {MD5}, not 1234"):
        fetch(f"{server}/whole/data.bin", root / "data.bin", "1234")
    assert (root / "data.bin").read_bytes() == b"old"
    assert names(root) == ["data.bin"]


def test_fetch_that_is_interrupted_leaves_nothing(mirror, root, monkeypatch):
    class Interrupted(io.BytesIO):
        headers = {}  # noqa: RUF012

        def read(self, size):
            if self.tell():
                raise KeyboardInterrupt
            return super().read(size)

    monkeypatch.setattr("urllib.request.urlopen", lambda url, timeout: Interrupted(CONTENT))
    with pytest.raises(KeyboardInterrupt):
        fetch("https://example.org/data.bin", root / "data.bin", MD5)
    assert names(root) == []


# find_or_fetch --------------------------------------------------------------------------------------------------------


def test_a_file_that_is_there_is_used(root):
    (root / "data.bin").write_bytes(CONTENT)
    find(root / "data.bin")
    find(root / "data.bin", download=False)


def test_a_damaged_file_is_not_replaced(root, mirror):
    (root / "data.bin").write_bytes(b"half")
    with pytest.raises(ValueError, match=r"data\.bin is damaged"):
        find(root / "data.bin", mirror=mirror)
    assert (root / "data.bin").read_bytes() == b"half"


@pytest.mark.parametrize("ending", ["", "/"])
def test_the_mirror_takes_the_place_of_the_usual_url(root, server, ending):
    find(root / "data.bin", mirror=f"{server}/whole{ending}")
    assert (root / "data.bin").read_bytes() == CONTENT


def test_without_a_mirror_the_usual_url_is_used(root, mirror):
    find(root / "data.bin", url=f"{mirror}/data.bin")
    assert (root / "data.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("mirror", ["/some/folder", "ftp://example.org", "example.org"])
def test_a_mirror_must_be_a_url(root, mirror):
    with pytest.raises(ValueError, match=rf"mirror must be a URL .*file://; got '{mirror}'"):
        find(root / "data.bin", mirror=mirror)


def test_without_download_the_error_says_what_is_missing_and_what_to_do(root):
    with pytest.raises(FileNotFoundError) as error:
        find(root / "data.bin", download=False, wanted=root / "batches" / "one")
    message = str(error.value)
    for part in ("things", str(root), f"no {root / 'batches' / 'one'}", "download=False", "Put data.bin", MD5):
        assert part in message, part
    for part in ("root=", "LPA_DATA", "mirror=", "LPA_MIRROR"):
        assert part in message, part
    assert names(root) == []


@pytest.mark.parametrize("place", ["missing", "cut"])
def test_a_download_that_fails_says_from_where_and_why(root, server, place):
    why = "404" if place == "missing" else "cut short"
    with pytest.raises(FileNotFoundError, match=f"{server}/{place}/data.bin could not be downloaded .*{why}.* Put"):
        find(root / "data.bin", mirror=f"{server}/{place}")
    assert names(root) == []


def test_no_network_is_said_so(root):
    with pytest.raises(FileNotFoundError, match=r"http://127\.0\.0\.1:9/data\.bin could not be downloaded"):
        find(root / "data.bin", mirror="http://127.0.0.1:9")


# unpack ---------------------------------------------------------------------------------------------------------------


def archive_of(path, **files):
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"batches/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def test_unpack_takes_out_only_what_is_asked_for(root):
    archive = archive_of(root / "all.tar.gz", one=b"1", two=b"2", three=b"3")
    (root / "batches").mkdir()
    (root / "batches" / "two").write_bytes(b"mine")
    unpack(archive, root / "batches", {"one": md5_of(b"1"), "three": md5_of(b"3")})
    assert {p.name: p.read_bytes() for p in (root / "batches").iterdir()} == {
        "one": b"1",
        "two": b"mine",
        "three": b"3",
    }
    assert names(root) == ["all.tar.gz", "batches"]


def test_unpack_puts_nothing_in_place_when_one_file_is_wrong(root):
    archive = archive_of(root / "all.tar.gz", one=b"1", two=b"2")
    with pytest.raises(ValueError, match="two is damaged"):
        unpack(archive, root / "batches", {"one": md5_of(b"1"), "two": md5_of(b"other")})
    assert names(root) == ["all.tar.gz"]
