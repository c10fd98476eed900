"""Times llama.cpp on a GGUF file, in a process of its own: `mdtool.jobs.bench.llama_cpp` starts it.

Its OpenMP runtime is not torch's, and in one process the threads of the two would wait for one another.

Arguments: the file, the positions of the context, the number of threads, and perhaps the file of the vision part. It
answers each line on stdin, a JSON list of numbers of tokens that follow one another from an empty context on, by the
list of the seconds that each took. With a vision part a number below 0 is a square image with that side.
"""

import ctypes
import json
import logging
import sys
import time
from collections.abc import Callable
from typing import Any


def main() -> None:
    """Load the model, then answer until stdin ends."""
    import llama_cpp

    path, positions, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    logging.getLogger("llama-cpp-python").setLevel(logging.ERROR)
    loading = llama_cpp.llama_model_default_params()
    loading.n_gpu_layers = 0
    model = llama_cpp.llama_model_load_from_file(path.encode(), loading)
    if model is None:
        sys.exit("the file can't be loaded")
    settings = llama_cpp.llama_context_default_params()
    settings.n_ctx = settings.n_batch = positions  # a prefix is one call
    settings.n_threads = settings.n_threads_batch = threads
    settings.offload_kqv = settings.op_offload = False
    context = llama_cpp.llama_init_from_model(model, settings)
    if context is None:
        sys.exit("no context can be made")

    def seconds(count: int) -> float:
        tokens = (llama_cpp.llama_token * count)(*(20 + i % 100 for i in range(count)))
        since = time.perf_counter()
        failed = llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(tokens, count))
        llama_cpp.llama_get_logits(context)  # waits for them
        taken = time.perf_counter() - since
        if failed:
            sys.exit(f"llama_decode returned {failed} for {count} tokens")
        return taken

    image_seconds = _image_timer(sys.argv[4], model, context, threads) if len(sys.argv) > 4 else seconds

    for line in sys.stdin:
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
        taken = [seconds(count) if count > 0 else image_seconds(-count) for count in json.loads(line)]
        print(json.dumps(taken), flush=True)


def _image_timer(path: str, model: Any, context: Any, threads: int) -> Callable[[int], float]:
    """Return what encodes a square image and reads it from the start of the context on, and returns the seconds."""
    import llama_cpp
    from llama_cpp import mtmd_cpp as mtmd

    settings = mtmd.mtmd_context_params_default()
    settings.use_gpu = settings.print_timings = False
    settings.n_threads = threads
    encoder = mtmd.mtmd_init_from_file(path.encode(), model, settings)
    if encoder is None:
        sys.exit("the vision part can't be loaded")
    marker = mtmd.mtmd_default_marker()

    def seconds(side: int) -> float:
        pixels = (ctypes.c_uint8 * (3 * side * side))(*(i * 37 % 256 for i in range(3 * side * side)))
        since = time.perf_counter()
        bitmap, chunks = mtmd.mtmd_bitmap_init(side, side, pixels), mtmd.mtmd_input_chunks_init()
        prompt = mtmd.mtmd_input_text(text=marker, text_len=len(marker), add_special=False, parse_special=True)
        bitmaps, end = (mtmd.mtmd_bitmap_p_ctypes * 1)(bitmap), llama_cpp.llama_pos(0)
        failed = mtmd.mtmd_tokenize(encoder, chunks, ctypes.byref(prompt), bitmaps, 1)
        batch = llama_cpp.llama_n_batch(context)
        failed = failed or mtmd.mtmd_helper_eval_chunks(encoder, context, chunks, 0, 0, batch, True, ctypes.byref(end))
        llama_cpp.llama_get_logits(context)
        taken = time.perf_counter() - since
        mtmd.mtmd_input_chunks_free(chunks)
        mtmd.mtmd_bitmap_free(bitmap)
        if failed:
            sys.exit(f"llama.cpp returned {failed} for an image")
        print(f"{side}x{side}: {end.value} tokens", file=sys.stderr)
        return taken

    return seconds


if __name__ == "__main__":
    main()
