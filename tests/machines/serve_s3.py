"""S3 at HOST PORT, with an empty bucket named "bucket", until it is killed; says when it is up."""

from __future__ import annotations

import signal
import sys

from s3_server import S3Server

if __name__ == "__main__":
    S3Server(sys.argv[1], int(sys.argv[2])).make_bucket()
    print("up", flush=True)
    signal.pause()
