from __future__ import annotations

from pathlib import Path

import pytest

from posttrain.errors import DamagedError
from posttrain.store import Manifest, digest_files, fingerprint


def sealed(folder: Path) -> Manifest:
    manifest = Manifest("data", "problems", "finished", "f", {}, {}, {}, 0, "2026-01-01T00:00:00+00:00")
    manifest.seal(folder)
    manifest.write(folder)
    return manifest


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / ".work").mkdir()
    (tmp_path / "model" / "weights.bin").write_bytes(b"weights")
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "seconds": 0.1}\n')
    (tmp_path / ".work" / "optimizer.bin").write_bytes(b"state")
    (tmp_path / ".weights.bin.x.tmp").write_bytes(b"half")
    return tmp_path


def test_outputs_are_the_files_a_person_sees(artifact: Path) -> None:
    assert list(sealed(artifact).outputs) == ["metrics.jsonl", "model/weights.bin"]


def test_times_do_not_enter_the_digest(artifact: Path) -> None:
    digest = sealed(artifact).digest
    (artifact / "metrics.jsonl").write_text('{"step": 1, "seconds": 0.2}\n')
    assert sealed(artifact).digest == digest


def test_a_manifest_comes_back_as_it_was_written(artifact: Path) -> None:
    manifest = sealed(artifact)
    assert Manifest.read(artifact) == manifest
    assert Manifest.read(artifact / "model") is None


def test_one_flipped_bit_is_found(artifact: Path) -> None:
    manifest = sealed(artifact)
    manifest.verify(artifact)
    (artifact / "model" / "weights.bin").write_bytes(b"weightt")
    with pytest.raises(DamagedError, match=r"weights.bin is damaged: its sha256 is not the one in its manifest"):
        manifest.verify(artifact)


def test_a_missing_file_is_found(artifact: Path) -> None:
    manifest = sealed(artifact)
    (artifact / "model" / "weights.bin").unlink()
    with pytest.raises(DamagedError, match=r"weights.bin is missing, though its manifest lists it"):
        manifest.verify(artifact)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"stage": "data"}', '{"unknown": 1}', "null"])
def test_a_broken_manifest_is_damage_and_not_a_crash(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(DamagedError, match="is not a manifest"):
        Manifest.read(tmp_path)


def test_a_digest_depends_on_names_and_bytes_and_not_on_order() -> None:
    assert digest_files({"a": "1", "b": "2"}) == digest_files({"b": "2", "a": "1"})
    assert digest_files({"a": "1", "b": "2"}) != digest_files({"a": "2", "b": "1"})


def test_a_fingerprint_is_the_sha256_of_canonical_json() -> None:
    # printf '{"a":1,"b":[true,null,"é"]}' | sha256sum
    expected = "9488dd13ca33d3291f5a91a1833dfa164811755ffba538c2b340780f8c31a0cb"
    assert fingerprint({"b": [True, None, "é"], "a": 1}) == expected
