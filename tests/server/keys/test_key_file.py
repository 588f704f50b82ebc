"""The file of keys: what it may hold, what is wrong with it, and that no message shows a key."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

from featsvc.errors import InvalidArgument
from featsvc.server.commands.cli import main
from featsvc.server.keys.api_keys import keys_in_force
from featsvc.server.keys.key_file import KeyFile, hash_of, mark_of
from featsvc.settings.access import KeyLimits
from featsvc.settings.attributes import Attribute, attributes
from featsvc.settings.tree import Settings
from featsvc.v1 import model_pb2
from featsvc.work.caller import OWNER, Caller

LIMITS = KeyLimits(url_max_fetches_per_key=3)
HASH = hash_of("alpha").hex()
OTHER = hash_of("beta").hex()


def callers(path: Path, text: str | bytes, *, is_open: bool = False) -> dict[str, Caller]:
    """Who has the keys alpha and beta by a file with this text."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    found = KeyFile(path, LIMITS, is_open=is_open, first_number=1).read()
    return {key: found[hash_of(key)] for key in ("alpha", "beta") if hash_of(key) in found}


def test_an_entry_says_who_has_a_key_and_what_it_may(tmp_path: Path) -> None:
    text = f"""
# the team
[keys.alice]
sha256 = "{HASH}"
[keys.bob-2]
sha256 = "{OTHER}"
roles = ["infer", "admin"]
models = ["demo-clip", "dinov2_vitl14"]
weight = 2
image_cache_per_key = "1MiB"
"""
    limits = KeyLimits(url_max_fetches_per_key=3, weight=2.0, image_cache_per_key=1 << 20)
    bob = Caller(
        "bob-2", frozenset({"infer", "admin"}), frozenset({"demo-clip", "dinov2_vitl14"}), limits=limits
    )
    alice = Caller("alice", frozenset({"infer"}), limits=LIMITS)
    assert callers(tmp_path / "keys", text) == {"alpha": alice, "beta": bob}


def test_a_name_in_a_certificate_stands_in_place_of_a_key(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text('[keys.camera-7]\ncertificate = "camera-7.example.com"\nroles = ["status"]\n')
    found = KeyFile(path, LIMITS, is_open=True).read()
    assert found == {
        mark_of("camera-7.example.com"): Caller("camera-7", frozenset({"status"}), limits=LIMITS)
    }
    for wrong in (f'certificate = "a"\nsha256 = "{HASH}"', 'certificate = ""', "certificate = 7"):
        path.write_text(f"[keys.camera-7]\n{wrong}\n")
        with pytest.raises(InvalidArgument, match="certificate must be a name in the caller's certificate"):
            KeyFile(path, LIMITS, is_open=True).read()


@pytest.mark.parametrize(
    "text", ["alpha\nbeta\n", "# team\n\nalpha\n\n  # indented\n beta \n", "alpha\r\nbeta"]
)
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_key_a_line_is_read_as_ever_and_may_all(tmp_path: Path, text: str, mark: bytes) -> None:
    found = callers(tmp_path / "keys", mark + text.encode())
    assert found == {
        "alpha": Caller("key 1", OWNER, limits=LIMITS),
        "beta": Caller("key 2", OWNER, limits=LIMITS),
    }


@pytest.mark.parametrize(
    "text",
    [
        f'version = 1\n[keys.alice]\nsha256 = "{HASH}"\n',
        f'keys.alice.sha256 = "{HASH}"\n',
        f"keys={{alice={{sha256='{HASH}'}}}}\n",
        "secret\n[keys.alice]\n",
        "secret\nversion=1\n",
        "secret = \n",
        "models=[\n]\n",
    ],
)
def test_toml_that_does_not_begin_with_a_table_makes_no_keys_of_its_lines(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"begin with a table: put \[keys.NAME\] first") as caught:
        callers(tmp_path / "keys", text)
    assert "secret" not in caught.value.message


def test_a_key_of_a_line_may_end_as_base64_does(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("c2VjcmV0cw==\nab=c\n'quoted'\n")
    found = KeyFile(path, LIMITS, is_open=True).read()
    assert set(found) == {hash_of(key) for key in ("c2VjcmV0cw==", "ab=c", "'quoted'")}


def test_a_key_of_a_line_keeps_its_name_when_others_come_and_go(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("alpha\nbeta\n")
    file = KeyFile(path, LIMITS, is_open=False)
    file.read()
    path.write_text("gamma\nbeta\n")
    found = file.read()
    assert found[hash_of("beta")].name == "key 1"
    assert found[hash_of("gamma")].name == "key 2", "it must not find what the pictures of key 0 were"


def entry(lines: str) -> str:
    return f'[keys.alice]\nsha256 = "{HASH}"\n{lines}'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"\xff\xfe\xff", "UTF-8"),
        ("", "holds no key"),
        ("# nothing\n", "holds no key"),
        ("al\tpha", "printable ASCII"),
        ("alph\u00e4", "printable ASCII"),
        ("[keys.alice", "no TOML"),
        ("[key.alice]\n", "other tables"),
        ("[keys]\nalice = 3\n", "keys.alice: is no table"),
        ("[keys.alice]\n", "keys.alice: sha256, the hash of a key, or certificate"),
        ('[keys.alice]\nsha256 = "my-secret-key"\n', "the hash, and not the key"),
        ('[keys."a b"]\n', "letters, digits"),
        (entry('roles = ["king"]'), "infer, status, admin"),
        (entry('roles = "admin"'), "list of texts"),
        (entry("roles = []"), "roles is empty"),
        (entry("models = []"), "models is empty"),
        (entry("max_calls_per_key = " + "7" * 5000), "no TOML"),
        ("[keys.alice]\nsha256 = " + "[" * 3000, "nested too deep"),
        (entry('models = ["dino"]'), "featsvc models list"),
        (entry("wieght = 2"), "wieght not known"),
        (entry("weight = 0"), "weight"),
        (entry("max_calls_per_key = 4294967296"), "at most 4294967295"),
        (entry("image_cache_per_key = 9223372036854775808"), "at most 9223372036854775807"),
        (entry(f'image_cache_per_key = "{"7" * 5000}"'), "image_cache_per_key"),
        (entry(f'[keys.bob]\nsha256 = "{HASH}"'), "keys.alice and keys.bob are one key"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_without_its_keys(
    tmp_path: Path, text: str | bytes, words: str
) -> None:
    with pytest.raises(InvalidArgument, match="api_key_file") as caught:
        callers(tmp_path / "keys", text)
    assert words in caught.value.message
    assert "secret" not in caught.value.message
    assert "pha" not in caught.value.message


@pytest.mark.parametrize("limit", attributes(KeyLimits), ids=lambda limit: limit.name)
def test_whatever_a_limit_may_be_can_be_told(limit: Attribute) -> None:
    for value in (2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**30):
        try:
            parsed = limit.parsed(value)
        except ValueError:
            continue
        assert model_pb2.CallerLimits(**{limit.name: parsed})


@pytest.mark.parametrize("asked", [True, False])
def test_a_certificate_that_no_caller_is_asked_for_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, asked: bool
) -> None:
    file = tmp_path / "keys.toml"
    file.write_text('[keys.alice]\ncertificate = "alice"\n')
    ca = "ca.pem" if asked else ""
    with caplog.at_level(logging.WARNING):
        keys_in_force(Settings(api_key_file=str(file), tls_client_ca=ca), ())
    assert [vars(each)["keys"] for each in caplog.records] == ([] if asked else [["alice"]])


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="No such file"):
        KeyFile(tmp_path / "keys", LIMITS, is_open=False).read()


@pytest.mark.parametrize(("mode", "is_right"), [(0o600, True), (0o644, True), (0o620, False), (0o602, False)])
def test_a_file_that_others_may_write_is_refused(tmp_path: Path, mode: int, is_right: bool) -> None:
    path = tmp_path / "keys"
    path.write_text("alpha\n")
    path.chmod(mode)
    if is_right:
        assert KeyFile(path, LIMITS, is_open=True).read()
        return
    with pytest.raises(InvalidArgument, match="chmod go-w"):
        KeyFile(path, LIMITS, is_open=True).read()


@pytest.mark.parametrize("text", ["alpha\n", f'[keys.a]\nsha256 = "{HASH}"\n'])
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o604])
def test_a_file_of_keys_and_not_of_hashes_is_warned_of_where_others_may_read_it(
    tmp_path: Path, mode: int, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "keys"
    path.write_text(text)
    path.chmod(mode)
    with caplog.at_level(logging.WARNING):
        KeyFile(path, LIMITS, is_open=True).read()
    is_open = text == "alpha\n" and mode != 0o600
    assert ["others may read" in each.getMessage() for each in caplog.records] == [True] * is_open
    assert "alpha" not in caplog.text


@pytest.mark.parametrize("limit", attributes(KeyLimits), ids=lambda limit: limit.name)
def test_the_help_of_a_limit_says_of_what_it_is(limit: Attribute) -> None:
    assert re.search(r"\b(a|A) key\b", limit.description)


@pytest.mark.parametrize("text", ["smfeats\n", f'[keys.a]\nsha256 = "{hash_of("smfeats").hex()}"\n'])
def test_the_documented_key_in_a_file_is_for_loopback_alone(tmp_path: Path, text: str) -> None:
    callers(tmp_path / "keys", text)
    with pytest.raises(InvalidArgument, match="open to others"):
        callers(tmp_path / "keys", text, is_open=True)


def test_a_new_key_is_printed_once_and_its_hash_added_to_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "keys.toml"
    words = ["--role=infer", "--role=admin", "--model=demo-clip", "--weight=2", "--image-cache-per-key=1MiB"]
    keys = []
    for name, more in (("alice", words), ("bob", [])):
        assert main(["keys", "new", name, f"--api-key-file={path}", *more]) == 0
        keys.append(capsys.readouterr().out.strip())
    assert path.stat().st_mode & 0o777 == 0o600
    assert not any(key in path.read_text() for key in keys)
    found = KeyFile(path, LIMITS, is_open=True).read()
    limits = KeyLimits(url_max_fetches_per_key=3, weight=2.0, image_cache_per_key=1 << 20)
    assert [found[hash_of(key)] for key in keys] == [
        Caller("alice", frozenset({"infer", "admin"}), frozenset({"demo-clip"}), limits),
        Caller("bob", frozenset({"infer"}), limits=LIMITS),
    ]
    assert main(["keys", "new", "bob", f"--api-key-file={path}"]) == 2
    assert "another name" in capsys.readouterr().err
    assert KeyFile(path, LIMITS, is_open=True).read() == found


def test_a_new_key_without_a_file_is_printed_with_its_entry(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["keys", "new", "alice"]) == 0
    key, _, printed = capsys.readouterr().out.partition("\n")
    path = tmp_path / "keys"
    path.write_text(printed[printed.index("[keys") :])
    assert KeyFile(path, LIMITS, is_open=True).read()[hash_of(key)].name == "alice"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["a b"], "letters, digits"),
        (["a", "--model=no-such"], "no-such"),
        (["a", "--weight=-1"], "weight"),
        (["a", "--certificate="], "common name"),
        (["a", "--certificate=a\x7f"], "common name"),
        (["a", "--api-key-file=/nowhere/keys"], "cannot be written"),
    ],
)
def test_a_key_that_cannot_be_made_leaves_nothing(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["keys", "new", *words]) == 2
    caught = capsys.readouterr()
    assert told in caught.err
    assert caught.out == ""


def test_an_entry_for_a_certificate_holds_its_name_and_no_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "keys.toml"
    certificate = 'CN "7" of \\ Müller'
    words = ["--role=infer", "--role=status", f"--certificate={certificate}"]
    assert main(["keys", "new", "camera-7", f"--api-key-file={path}", *words]) == 0
    told = capsys.readouterr()
    assert told.out == ""
    assert "--tls-client-ca" in told.err
    found = KeyFile(path, LIMITS, is_open=True).read()
    assert found == {mark_of(certificate): Caller("camera-7", frozenset({"infer", "status"}), limits=LIMITS)}
    assert main(["keys", "new", "other", f"--api-key-file={path}", f"--certificate={certificate}"]) == 2
    assert "already" in capsys.readouterr().err
    assert KeyFile(path, LIMITS, is_open=True).read() == found
    assert main(["keys", "new", "camera-8", "--certificate=camera-8"]) == 0
    assert capsys.readouterr().out.endswith('[keys.camera-8]\ncertificate = "camera-8"\nroles = ["infer"]\n')


def test_named_keys_are_not_put_among_keys_of_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "keys"
    path.write_text("alpha\n")
    assert main(["keys", "new", "alice", f"--api-key-file={path}"]) == 2
    assert "another file" in capsys.readouterr().err
    assert path.read_text() == "alpha\n"
