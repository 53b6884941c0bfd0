"""S3 at HOST PORT, with an empty bucket named "bucket", until it is killed; says when it is up."""

from __future__ import annotations

import signal
import sys

from s3_server import S3Server
from werkzeug.serving import WSGIRequestHandler

if __name__ == "__main__":
    # A machine that lost its power says no goodbye, and this server waits for it with all others.
    WSGIRequestHandler.timeout = 5
    S3Server(sys.argv[1], int(sys.argv[2])).make_bucket()
    print("up", flush=True)
    signal.pause()
