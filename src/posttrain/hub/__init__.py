"""Models and datasets from elsewhere: the Hugging Face Hub, and a local mirror of it for nodes without network."""

from posttrain.hub.download import offline, snapshot, unreachable
from posttrain.hub.fetching import fetch, read_repository
from posttrain.hub.mirror import find, listing, mirror_root
from posttrain.hub.names import NAMES, Named
from posttrain.hub.resolve import dataset_file, looks_like_hub_name, resolve_model
from posttrain.hub.revisions import Revision, checkpoints_of, revisions

__all__ = [
    "NAMES",
    "Named",
    "Revision",
    "checkpoints_of",
    "dataset_file",
    "fetch",
    "find",
    "listing",
    "looks_like_hub_name",
    "mirror_root",
    "offline",
    "read_repository",
    "resolve_model",
    "revisions",
    "snapshot",
    "unreachable",
]
