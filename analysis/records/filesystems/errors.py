"""What a storage's errors say: that it is full, that it refuses, or that it may pass."""

from __future__ import annotations

import errno
import re
import shutil
from pathlib import Path
from typing import Final

from fusion_search.analysis.records.secrets import sentence

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
# What storage that works says of one file: trying again would not change it.
OF_A_FILE: Final = (
    FileExistsError,
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)
# What it says of itself; all other numbers (a host that is down, a stale handle) pass.
_REFUSALS: Final = (
    errno.EROFS,
    errno.EINVAL,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENOTEMPTY,
    errno.ENOTSUP,
    errno.EXDEV,
    errno.EFBIG,
)
# The same in words, where pyarrow gives no number: of Amazon's errors those that do not pass, a
# request that is wrong or a quota (408, 425, 429: too slow, too early, too many), Google's.
_REFUSAL: Final = re.compile(
    r"AWS Error (?!UNKNOWN|NETWORK_CONNECTION|INTERNAL_FAILURE|SERVICE_UNAVAILABLE|SLOW_DOWN"
    r"|THROTTLING|REQUEST_TIMEOUT|REQUEST_EXPIRED|NO_SUCH_UPLOAD)[A-Z_]+"
    r"|HTTP status (?:3\d\d|4(?!08|25|29)\d\d|507)"
    r"|PERMISSION_DENIED|UNAUTHENTICATED"
    r"|SSL peer certificate"
)
NAME_CERTIFICATE: Final = (
    "name the server's certificate, a file of every node, by tls_ca_file_path=FILE in the "
    "storage's URI or by the environment variable SSL_CERT_FILE"
)
# What to do about a refusal, by the first of these that its words show.
_REMEDIES: Final = (
    (r"NO_SUCH_BUCKET", "make that bucket, or correct its name"),
    (
        r"ACCESS_DENIED|PERMISSION_DENIED|HTTP status 403",
        "let these credentials list, read, write and delete there, or use others",
    ),
    (
        r"INVALID_ACCESS_KEY_ID|SIGNATURE_DOES_NOT_MATCH|INVALID_CLIENT_TOKEN_ID"
        r"|UNRECOGNIZED_CLIENT|INCOMPLETE_SIGNATURE|MISSING_AUTHENTICATION_TOKEN|UNAUTHENTICATED",
        "correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ~/.aws, where it was refused",
    ),
    (
        r"AuthorizationHeaderMalformed|PermanentRedirect|HTTP status 30[17]",
        "the bucket lies in another region: name it in the storage's URI, as in ?region=eu-west-1",
    ),
    (
        r"ExpiredToken|token.* expired|EXPIRED_TOKEN|HTTP status 400",
        "where credentials have expired renew them, in a cluster on every node, whose Ray takes "
        "them over when it is started; else see to the region in the storage's URI",
    ),
    (r"SSL peer certificate", NAME_CERTIFICATE),
    (
        r"Not a directory|File exists|non-directory",
        "a file is in the place of a folder: move it away, or name another storage",
    ),
    (
        r"Permission denied",
        "let this user list, read and write there (chmod, or ask its owner), or name another "
        "storage",
    ),
    (r"Read-only file system", "mount it so that it can be written to, or name another storage"),
)
_UNREACHED: Final = (
    "start its server, see to the network and to the host that its URI or AWS_ENDPOINT_URL names, "
    "or name another storage"
)
_REMEDY: Final = "see to its name, its permissions and your credentials, or name another storage"


class StorageError(OSError):
    """The storage does not answer, refuses or is full; the message is one sentence."""


class RefusedError(StorageError):
    """The storage answers that it will not."""


class UnfitError(ValueError):
    """What has a file's name is not read; the message says why, in a few words."""


def is_full(error: OSError) -> bool:
    """Whether there is no room."""
    return error.errno in _FULL


def is_refusal(error: OSError) -> bool:
    """Whether trying again would not help."""
    return error.errno in _REFUSALS or _REFUSAL.search(str(error)) is not None


def refused(location: str, error: OSError) -> RefusedError:
    """What to raise for a refusal: with its reason, and what to do."""
    found = (words for pattern, words in _REMEDIES if re.search(pattern, str(error)))
    return RefusedError(f"storage {location} refuses ({reason(error)}); {next(found, _REMEDY)}")


def unanswered(location: str, waited: str, error: OSError) -> StorageError:
    """What to raise where nothing answers.

    Args:
        location: of the storage.
        waited: for how long it was waited, in words; empty where it was asked once.
        error: of the last try.
    """
    remedy = _UNREACHED if "://" in location else "see to its disk and its mount"
    return StorageError(f"storage {location} did not answer{waited} ({reason(error)}); {remedy}")


def unopened(uri: str, error: Exception) -> ValueError:
    """What to raise where pyarrow opens no filesystem for a URI."""
    # Of HDFS's, the first line: the others list where Java was looked for.
    why = reason(error).partition(" dlopen(")[0]
    away = "NETWORK_CONNECTION" in why  # when it asked for the bucket's region
    remedy = _UNREACHED if away else "correct the URI, or name a folder"
    return ValueError(f"storage {uri!r} cannot be opened by pyarrow ({why}); {remedy}")


def full(location: str, folder: Path | None) -> StorageError:
    """What to raise where there is no room.

    Args:
        location: of the storage.
        folder: where it is on this machine; None of a remote one.
    """
    if folder is None:
        return StorageError(f"storage {location} is full")
    disk = next(one for one in (folder, *folder.parents) if one.is_mount())
    size = shutil.disk_usage(disk)
    return StorageError(
        f"the disk at {disk} is full ({size.free / 2**20:.1f} of {size.total / 2**20:,.1f} MiB "
        f"free, or a quota is used up): nothing more can be written to {location}"
    )


def reason(error: Exception) -> str:
    """An error's words on one line, of bounded length."""
    return re.sub(r"\[[Ee]rrno \d+\] ", "", sentence(error))[:300]
