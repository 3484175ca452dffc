"""What training and sampling cost, by rules that are stated here. No torch: planning reads it.

Time is arithmetic over a speed: 2 operations per weight and token forward, 6 forward and backward. On a CPU the speed
of matrix products is measured when it is first asked for (a few hundredths of a second), and what stands between the
products is counted per layer, token and hidden unit; both shares were fitted to training steps of twelve shapes (within
12 %, hidden 64 to 768), none of which is among the three that perf/forecast.py holds a plan against. Sampling on a CPU
goes by the speed that the quickstart's model reached. On a GPU nothing was measured: a third of an A100's peak is
assumed for training, a tenth of that for sampling, which waits for memory.
"""

from __future__ import annotations

import functools
import os
import time
from pathlib import Path

from posttrain.models.gpus import planned_gpu
from posttrain.models.size import Shape
from posttrain.store.environment import hardware

CPU_SAMPLING = 1.5e10  # operations per second and core
PRODUCTS = 1.66  # training's products against the square ones that are measured
BETWEEN = 3.6e3  # what a token costs in a layer beside the products, as so many operations per hidden unit
PER_LOGIT = 590.0  # … and for each word of the vocabulary: softmax and its gradient
AMX = 2.35  # bfloat16 products against float32 ones, where the processor has tiles for them; all else takes half
UPDATE = 1e-9  # seconds of the optimizer per trained weight
UPDATE_CALL = 1.5e-3  # … and of a step whatever its size
GPU_UPDATE = 3e-11  # … on a GPU: 28 bytes read and written at a terabyte per second
GPU_TRAINING = {"float32": 6e12, "bfloat16": 1e14}
SAMPLING_SHARE = 0.1  # of a GPU's training speed
RUNTIME_BYTES = 5.8e8  # Python with torch, transformers and the pipeline loaded, and one small step done
STARTUP = 4.5  # seconds until torch is loaded and a small model with it
LOADING = 1e9  # bytes of weights read per second
ACTIVATIONS = 17  # numbers kept per hidden unit, layer and token (Korthikanti et al., arXiv:2205.05198, without scores)
LOGITS = 1 << 25  # of the vocabulary projection, held at once (models/logprobs.py)


def on_gpu() -> bool:
    """Whether this process would train on a GPU, or one is being planned for."""
    if planned_gpu() is not None:
        return True
    return bool(hardware()["gpus"]) and os.environ.get("CUDA_VISIBLE_DEVICES", "0") not in ("", "-1")


def training_seconds(shape: Shape, tokens: float, dtype: str = "float32") -> float:
    """Forward and backward over `tokens`."""
    if on_gpu():
        return 6 * shape.working * tokens / _gpu_speed(dtype)
    speed = core_speed() * threads()
    products = 6 * shape.working / PRODUCTS
    between = BETWEEN * shape.layers * shape.hidden + PER_LOGIT * shape.vocabulary
    if dtype == "bfloat16" and _has_amx():
        products, between = products / AMX, between / 2
    return (products + between) * tokens / speed


def _gpu_speed(dtype: str) -> float:
    """Operations per second in training, of the GPU that is planned for or of the one that is assumed to be here."""
    gpu = planned_gpu()
    return gpu.training(dtype) if gpu is not None else GPU_TRAINING.get(dtype, GPU_TRAINING["bfloat16"])


def update_seconds(trained: float) -> float:
    """One step of the optimizer over `trained` weights."""
    return GPU_UPDATE * trained if on_gpu() else UPDATE_CALL + UPDATE * trained


@functools.cache
def core_speed() -> float:
    """Operations per second of float32 matrix products on one core here, the best of a few tries."""
    import numpy as np

    side = 512
    square = np.ones((side, side), dtype=np.float32)
    best = 0.0
    for _ in range(6):
        began = time.process_time()  # of all threads together, so this is one core's speed
        square @ square
        best = max(best, 2.0 * side**3 / max(time.process_time() - began, 1e-6))
    return best


def threads() -> int:
    """How many cores a training on the CPU will use."""
    limit = os.environ.get("OMP_NUM_THREADS", "")
    cores = int(hardware()["cores"])
    return min(cores, int(limit)) if limit.isdecimal() and int(limit) > 0 else cores


@functools.cache
def _has_amx() -> bool:
    facts = Path("/proc/cpuinfo")
    return facts.exists() and " amx_bf16" in facts.read_text(encoding="utf-8", errors="replace")


def sampling_seconds(shape: Shape, tokens: float, dtype: str = "float32") -> float:
    """Sampling `tokens` one by one in full batches."""
    if on_gpu():
        speed = SAMPLING_SHARE * _gpu_speed(dtype)
    else:
        speed = CPU_SAMPLING * hardware()["cores"]
    return 2 * shape.working * tokens / speed


def loading_seconds(shape: Shape) -> float:
    """Until a model is there to be worked with."""
    return STARTUP + 4 * shape.parameters / LOADING


def training_bytes(
    shape: Shape,
    tokens: float,
    dtype: str = "float32",
    *,
    trained: float | None = None,
    weight_bytes: float = 4.0,
    state_bytes: float = 12.0,
    recompute: bool = False,
    length: float = 0.0,
) -> float:
    """Memory of training with at most `tokens` in a micro-batch: weights, gradients, optimizer state, activations,
    logits, and the program itself.

    trained: weights that have gradients (default: all). weight_bytes: of each linear layer's weight; embeddings and
    what is trained beside a frozen base are float32. state_bytes: gradient and optimizer's state of a trained weight.
    recompute: only the layers' inputs are kept, and one layer in full. length: of a sequence; its attention's
    probabilities are kept on the CPU.
    """
    width = 4 if dtype == "float32" else 2
    embedding = shape.vocabulary * shape.hidden
    weights = 4.0 * embedding + weight_bytes * (shape.parameters - embedding)
    if trained is None:
        learned = state_bytes * shape.parameters
    else:
        learned = (4.0 + state_bytes) * trained
    layers = 1 if recompute else shape.layers
    kept: float = width * layers * ACTIVATIONS * shape.hidden + (4 * shape.layers * shape.hidden if recompute else 0)
    if not on_gpu():
        kept += width * layers * shape.heads * length
    logits = 3 * width * min(tokens * shape.vocabulary, LOGITS)
    return RUNTIME_BYTES + weights + learned + kept * tokens + logits


def sampling_bytes(shape: Shape, tokens: float, dtype: str = "float32") -> float:
    """Memory of sampling with `tokens` in the cache: the weights twice, the module's and the engine's layout."""
    width = 4 if dtype == "float32" else 2
    return RUNTIME_BYTES + width * (2 * shape.parameters + shape.kv_values * tokens)


def sampler_bytes(shape: Shape, tokens: float, dtype: str) -> float:
    """What sampling holds beside the trainer's weights: them in the engine's layout, and keys and values of `tokens`,
    in the precision that it computes in (on a CPU float32 stands between bfloat16 products)."""
    width = 2 if dtype == "bfloat16" and on_gpu() else 4
    return width * (shape.parameters + shape.kv_values * tokens)


def weights_bytes(shape: Shape) -> float:
    """A model folder on disk, float32."""
    return 4.0 * shape.parameters + 1e5
