"""Options of a storage's URI: each that is taken reaches the workers, which get it pickled."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from pyarrow import fs

from fusion_search.analysis.records.filesystems.opening import open_filesystem
from fusion_search.analysis.records.storage import open_storage
from fusion_search.search.commands.command_line import main

S3 = "s3://bucket/results?region=us-east-1&scheme=http&endpoint_override=127.0.0.1:9"
AZURE = "abfs://container@account.dfs.core.windows.net/results?enable_tls=true"
GOOGLE = "gs://anonymous@bucket/results?scheme=http"
CERTIFICATE = "name the server's certificate, a file of every node, by tls_ca_file_path=FILE"


@pytest.mark.parametrize(
    ("base", "option", "default"),
    [
        (S3, "region=eu-west-1", False),
        (S3, "scheme=https", False),
        (S3, "endpoint_override=127.0.0.1:8", False),
        (S3, "allow_delayed_open=false", False),
        (S3, "allow_bucket_creation=true", False),
        (S3, "allow_bucket_deletion=true", False),
        (S3, "tls_ca_file_path=/certificates/mine.pem", False),
        (S3, "tls_verify_certificates=true", True),
        (S3, "smart_defaults=standard", True),
        (AZURE, "enable_tls=false", False),
        (AZURE, "blob_storage_authority=127.0.0.1:9", False),
        (AZURE, "dfs_storage_authority=127.0.0.1:9", False),
        (AZURE, "credential_kind=default", True),
        (GOOGLE, "endpoint_override=127.0.0.1:9", False),
        (GOOGLE, "retry_limit_seconds=7", False),
        (GOOGLE, "project_id=mine", False),
    ],
)
def test_an_option_that_is_taken_reaches_a_worker(base: str, option: str, default: bool) -> None:
    name = option.partition("=")[0]
    address, _, query = base.partition("?")
    others = "&".join(one for one in query.split("&") if one.partition("=")[0] != name)
    uri = f"{address}?{others}&{option}"
    filesystem, root = open_filesystem(uri)
    assert root.partition("/")[2] == "results"
    assert filesystem == fs.FileSystem.from_uri(_as_asked(uri))[0]
    assert pickle.loads(pickle.dumps(open_storage(uri))).filesystem == filesystem
    assert (filesystem == open_filesystem(base)[0]) == default


def _as_asked(uri: str) -> str:
    """With what is always asked of S3."""
    return uri if not uri.startswith("s3") or "delayed" in uri else f"{uri}&allow_delayed_open=true"


@pytest.mark.parametrize(
    ("base", "option", "remedy"),
    [
        (S3, "tls_verify_certificates=false", f"leave it out, and {CERTIFICATE}"),
        (S3, "smart_defaults=legacy", "leave it out"),
        (AZURE, "background_writes=false", "leave it out"),
        (AZURE, "credential_kind=cli", "leave it out, and let the AZURE_ variables"),
        (AZURE, "credential_kind=anonymous", "leave it out, and let the AZURE_ variables"),
        (AZURE, "credential_kind=environment", "leave it out, and let the AZURE_ variables"),
        (AZURE, "credential_kind=workload_identity", "leave it out, and let the AZURE_ variables"),
    ],
)
def test_an_option_that_no_worker_would_get_is_refused(
    base: str, option: str, remedy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    uri, name = f"{base}&{option}", option.partition("=")[0]
    assert main(["status", "--storage", uri]) == 2
    error = capsys.readouterr().err
    assert error.startswith(
        f"error: storage {uri!r} cannot be used: pyarrow hands its option {name} to no worker; "
        f"{remedy}"
    )
    assert error.count("\n") == 1


def test_of_two_such_options_one_is_named() -> None:
    uri = f"{S3}&tls_verify_certificates=false&smart_defaults=legacy"
    with pytest.raises(ValueError, match="its option tls_verify_certificates to no worker"):
        open_storage(uri)


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        (f"{S3}&connect_timeout=3", "Unexpected query parameter in S3 URI: 'connect_timeout'"),
        ("gs://anonymous@bucket/x?a=1", "Unexpected query parameter in GCS URI: 'a'"),
        ("fsspec+nonsense://x", "Protocol not known: nonsense"),
        ("foo://x", "Unrecognized filesystem type in URI: foo://x"),
    ],
)
def test_what_pyarrow_does_not_open_is_one_sentence(uri: str, words: str) -> None:
    with pytest.raises(ValueError, match="cannot be opened by pyarrow") as raised:
        open_storage(uri)
    remedy = "correct the URI, or name a folder"
    assert str(raised.value) == f"storage {uri!r} cannot be opened by pyarrow ({words}); {remedy}"


@pytest.mark.parametrize("uri", ["s3://", "s3://?region=eu-west-1", "gs://"])
def test_a_uri_without_a_bucket_is_one_sentence(uri: str) -> None:
    with pytest.raises(ValueError, match="names no bucket") as raised:
        open_storage(uri)
    assert str(raised.value) == (
        f"storage {uri!r} names no bucket; give one, as in s3://bucket/results"
    )


@pytest.mark.parametrize(
    ("location", "uri"),
    [
        ("s3:/bucket/a", "s3://bucket/a"),
        (Path("s3://bucket/a"), "s3://bucket/a"),
        ("gs:bucket", "gs://bucket"),
        ("ABFSS:/x@y", "abfss://x@y"),
        ("file:/srv/a", "file:///srv/a"),
    ],
)
def test_a_uri_without_its_slashes_is_not_taken_for_a_folder(
    location: str | Path, uri: str
) -> None:
    with pytest.raises(ValueError, match="is no URI") as raised:
        open_storage(location)
    assert str(raised.value) == (
        f"storage {str(location)!r} is no URI; write {uri}, or ./{location} if a folder of this "
        "machine is called so"
    )
    assert open_storage(f"./{location}").root == f"{Path.cwd()}/{location}"
    assert open_storage("s3/a:b").root == f"{Path.cwd()}/s3/a:b"
