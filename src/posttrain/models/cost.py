"""What training and sampling cost, by rules of thumb that are stated here. No torch: planning reads it.

Time is arithmetic over a stated speed: 2 operations per weight and token forward, 6 forward and backward. On a CPU the
speeds are those the quickstart's model reached on a server's core in float32. On a GPU nothing was measured,
and they are assumed: a third of an A100's peak for training, and a tenth of that for sampling, which waits for memory.
"""

from __future__ import annotations

import os

from posttrain.models.size import Shape
from posttrain.store.environment import hardware

CPU_TRAINING = 4e10  # operations per second and core
CPU_SAMPLING = 1.5e10
GPU_TRAINING = {"float32": 6e12, "bfloat16": 1e14}
SAMPLING_SHARE = 0.1  # of a GPU's training speed
RUNTIME_BYTES = 6e8  # Python with torch and transformers loaded
STARTUP = 4.0  # seconds until torch is loaded and a small model with it
LOADING = 1e9  # bytes of weights read per second
ACTIVATIONS = 17  # numbers kept per hidden unit, layer and token (Korthikanti et al., arXiv:2205.05198, without scores)
LOGITS_BYTES = 3 * (1 << 25)  # one chunk of the vocabulary projection, its softmax and its gradient


def on_gpu() -> bool:
    """Whether this process would train on a GPU."""
    return bool(hardware()["gpus"]) and os.environ.get("CUDA_VISIBLE_DEVICES", "0") not in ("", "-1")


def training_seconds(shape: Shape, tokens: float, dtype: str = "float32") -> float:
    """Forward and backward over `tokens`."""
    speed = GPU_TRAINING.get(dtype, GPU_TRAINING["bfloat16"]) if on_gpu() else CPU_TRAINING * hardware()["cores"]
    return 6 * shape.working * tokens / speed


def sampling_seconds(shape: Shape, tokens: float, dtype: str = "float32") -> float:
    """Sampling `tokens` one by one in full batches."""
    if on_gpu():
        speed = SAMPLING_SHARE * GPU_TRAINING.get(dtype, GPU_TRAINING["bfloat16"])
    else:
        speed = CPU_SAMPLING * hardware()["cores"]
    return 2 * shape.working * tokens / speed


def loading_seconds(shape: Shape) -> float:
    """Until a model is there to be worked with."""
    return STARTUP + 4 * shape.parameters / LOADING


def training_bytes(shape: Shape, tokens: float, dtype: str = "float32") -> float:
    """Memory of training with at most `tokens` in a micro-batch: weights, gradients and AdamW's two moments in float32
    (16 bytes a weight), activations, one chunk of logits, and the program itself."""
    width = 4 if dtype == "float32" else 2
    return (
        RUNTIME_BYTES
        + 16 * shape.parameters
        + width * ACTIVATIONS * shape.hidden * shape.layers * tokens
        + LOGITS_BYTES
    )


def sampling_bytes(shape: Shape, tokens: float, dtype: str = "float32") -> float:
    """Memory of sampling with `tokens` in the cache: the weights twice, the module's and the engine's layout."""
    width = 4 if dtype == "float32" else 2
    return RUNTIME_BYTES + width * (2 * shape.parameters + shape.kv_values * tokens)


def weights_bytes(shape: Shape) -> float:
    """A model folder on disk, float32."""
    return 4.0 * shape.parameters + 1e5
