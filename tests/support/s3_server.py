"""An S3 server on this machine, which counts what it is asked and can be away for a while."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator
from typing import Any

from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from pyarrow import fs
from werkzeug.serving import make_server

SECRET = "sesame-4711"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "ali-baba",
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_EC2_METADATA_DISABLED": "true",
}


class _Quiet(MotoRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:
        """Nothing: the tests count requests themselves."""


class S3Server:
    """Moto's S3, on a free port unless one is given, with an empty bucket named "bucket"."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self.requests: list[tuple[str, str]] = []  # (method, path)
        self._host, self._port = host, port
        self._one_at_a_time = threading.Lock()
        self._answering = threading.Event()
        self._answering.set()
        self._application = DomainDispatcherApplication(create_backend_app)
        self.start()

    @property
    def uri(self) -> str:
        return f"s3://bucket/results?{self._options}"

    @property
    def _options(self) -> str:
        return f"endpoint_override={self._host}:{self._port}&scheme=http&region=us-east-1"

    def start(self) -> None:
        """Listen, again on the same port, with all objects that were there."""
        server = make_server(self._host, self._port, self._count, True, request_handler=_Quiet)
        self._server, self._port = server, server.server_port
        self._thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Refuse connections."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @contextlib.contextmanager
    def mute(self) -> Iterator[None]:
        """Accept connections and never answer, until the block ends."""
        self._answering.clear()
        try:
            yield
        finally:
            self._answering.set()

    def make_bucket(self) -> None:
        options = f"{self._options}&allow_bucket_creation=true&allow_bucket_deletion=true"
        filesystem, _ = fs.FileSystem.from_uri(f"s3://bucket?{options}")
        with contextlib.suppress(OSError):  # it is not there
            filesystem.delete_dir("bucket")
        filesystem.create_dir("bucket")
        self.requests.clear()

    def contents(self) -> dict[str, bytes]:
        """Every object, by key."""
        filesystem, _ = fs.FileSystem.from_uri(self.uri)
        entries = filesystem.get_file_info(fs.FileSelector("bucket", recursive=True))
        found = {}
        for entry in entries:
            if entry.is_file:
                with filesystem.open_input_stream(entry.path) as stream:
                    found[entry.path] = bytes(stream.read())
        return found

    def _count(self, environment: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self.requests.append((environment["REQUEST_METHOD"], environment["PATH_INFO"]))
        self._answering.wait()
        # S3 answers each request whole; moto reads and overwrites an object at the same time.
        with self._one_at_a_time:
            return list(self._application(environment, start_response))


@contextlib.contextmanager
def s3_server() -> Iterator[S3Server]:
    server = S3Server()
    try:
        server.make_bucket()
        yield server
    finally:
        server.stop()
