"""Artifacts on disk: atomic files, manifests, fingerprints, locks, lineage, certificate entries. Knows no torch."""

from posttrain.store.artifacts import KINDS, Artifact, Checkpoint, Judgements, Problems, Report, Samples, Scores, Tokens
from posttrain.store.atomic import write_atomic, write_json, write_table
from posttrain.store.fingerprint import digest_files, fingerprint, sha256_file
from posttrain.store.manifest import Manifest

__all__ = [
    "KINDS",
    "Artifact",
    "Checkpoint",
    "Judgements",
    "Manifest",
    "Problems",
    "Report",
    "Samples",
    "Scores",
    "Tokens",
    "digest_files",
    "fingerprint",
    "sha256_file",
    "write_atomic",
    "write_json",
    "write_table",
]
