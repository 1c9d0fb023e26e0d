"""`id` and `generate-secret`: what an integrator asks for once, without a configuration or a Redis."""

import hashlib
import subprocess
import sys
from base64 import b64decode
from pathlib import Path

import pytest
from pydantic import SecretStr

from app.config.values import signing_key
from tests.support.harness import measured

CDR = b'{"type": "cdr"}'


def run(*arguments: str, given: bytes = b"") -> tuple[int, str, str]:
    """Return the exit status, what it printed, and what it said on standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "app", *arguments], input=given, capture_output=True, env=measured(), check=False
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def id_of(body: bytes) -> str:
    return f"cdr_{hashlib.sha256(body).hexdigest()[:32]}"


# --- id


@pytest.mark.parametrize("body", [CDR, b"", b"\xff\x00\r", b"x" * 1_000_000])
def test_an_id_is_that_of_the_exact_bytes(body: bytes, tmp_path: Path) -> None:
    """From a file or from standard input: nothing is decoded, and nothing is trimmed."""
    file = tmp_path / "cdr"
    file.write_bytes(body)
    assert run("id", str(file)) == (0, f"{id_of(body)}\n", "")
    assert run("id", "-", given=body) == (0, f"{id_of(body)}\n", "")


def test_a_line_break_that_an_editor_has_added_is_pointed_out() -> None:
    """It is part of the bytes, so the id is another one: beside it stands the one that is probably meant."""
    status, printed, said = run("id", "-", given=CDR + b"\n")
    assert (status, printed) == (0, id_of(CDR + b"\n") + "\n")
    assert f"without the line break at its end: {id_of(CDR)}" in said


def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    """With its name and the reason, and exit status 1."""
    assert run("id", str(tmp_path / "none")) == (1, "", f"{tmp_path}/none: cannot be read: No such file or directory\n")
    assert run("id", str(tmp_path)) == (1, "", f"{tmp_path}: cannot be read: Is a directory\n")


# --- generate-secret


def test_a_secret_is_one_that_the_settings_take() -> None:
    """As Standard Webhooks says: whsec_ and the base64 of 24 to 64 random bytes; another one each time."""
    status, printed, said = run("generate-secret")
    assert (status, said) == (0, "")
    secret = printed.removesuffix("\n")
    assert secret.startswith("whsec_")
    key = b64decode(secret.removeprefix("whsec_"), validate=True)
    assert 24 <= len(key) <= 64
    assert signing_key(SecretStr(secret)) == key
    assert run("generate-secret")[1] != printed
