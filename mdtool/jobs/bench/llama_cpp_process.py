"""Times llama.cpp on a GGUF file, in a process of its own: `mdtool.jobs.bench.llama_cpp` starts it.

Its OpenMP runtime is not torch's, and in one process the threads of the two would wait for one another.

Arguments: the file, the positions of the context, the number of threads, and the mmproj file if there is one. It
answers each line on stdin, a JSON list of requests that follow one another from an empty context on, by the list of the
seconds that each took. A request is a number of tokens; "image SIDE", a square image that is read at the beginning of
the context; or "vision SIDE", one that is only encoded.
"""

import json
import logging
import random
import sys
import time
from ctypes import byref, c_uint8
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

    vision = _Vision(model, context, sys.argv[4], threads) if len(sys.argv) > 4 else None

    def decode(count: int) -> None:
        tokens = (llama_cpp.llama_token * count)(*(20 + i % 100 for i in range(count)))
        if failed := llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(tokens, count)):
            sys.exit(f"llama_decode returned {failed} for {count} tokens")
        llama_cpp.llama_get_logits(context)  # waits for them

    def seconds(request: int | str) -> float:
        since = time.perf_counter()
        if isinstance(request, int):
            decode(request)
        elif vision is None:
            sys.exit("an image needs an mmproj file")
        else:
            what, side = request.split()
            (vision.encode if what == "vision" else vision.decode)(int(side))
        return time.perf_counter() - since

    for line in sys.stdin:
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
        print(json.dumps([seconds(request) for request in json.loads(line)]), flush=True)


class _Vision:
    """Square images of noise for `libmtmd`, llama.cpp's library for images."""

    def __init__(self, model: Any, context: Any, mmproj: str, threads: int) -> None:
        from llama_cpp import mtmd_cpp

        self.mtmd, self.context = mtmd_cpp, context
        loading = mtmd_cpp.mtmd_context_params_default()
        loading.use_gpu = loading.print_timings = loading.warmup = False
        loading.n_threads = threads
        self.vision = mtmd_cpp.mtmd_init_from_file(mmproj.encode(), model, loading)
        if not self.vision:
            sys.exit("the mmproj file can't be loaded")
        self.images: dict[int, Any] = {}

    def chunks(self, side: int) -> Any:
        """Return the chunks of a prompt that is an image of this side, in pixels."""
        if side not in self.images:
            marker = self.mtmd.mtmd_default_marker()
            text = self.mtmd.mtmd_input_text(marker, len(marker), False, True)
            pixels = (c_uint8 * (3 * side * side)).from_buffer_copy(random.Random(0).randbytes(3 * side * side))
            bitmaps = (self.mtmd.mtmd_bitmap_p_ctypes * 1)(self.mtmd.mtmd_bitmap_init(side, side, pixels))
            self.images[side] = chunks = self.mtmd.mtmd_input_chunks_init()
            if failed := self.mtmd.mtmd_tokenize(self.vision, chunks, byref(text), bitmaps, 1):
                sys.exit(f"mtmd_tokenize returned {failed}")
        return self.images[side]

    def encode(self, side: int) -> None:
        """Encode the image."""
        chunks = self.chunks(side)
        for index in range(self.mtmd.mtmd_input_chunks_size(chunks)):
            chunk = self.mtmd.mtmd_input_chunks_get(chunks, index)
            is_text = self.mtmd.mtmd_input_chunk_get_type(chunk) == self.mtmd.MTMD_INPUT_CHUNK_TYPE_TEXT
            if not is_text and self.mtmd.mtmd_encode_chunk(self.vision, chunk):
                sys.exit("the image can't be encoded")

    def decode(self, side: int) -> None:
        """Encode the image, and read it into the empty context, between the tokens that mark its ends."""
        import llama_cpp

        positions = llama_cpp.llama_pos(0)
        batch = llama_cpp.llama_n_batch(self.context)
        arguments = self.vision, self.context, self.chunks(side), 0, 0, batch, True, byref(positions)
        if self.mtmd.mtmd_helper_eval_chunks(*arguments):
            sys.exit("the image can't be read")
        llama_cpp.llama_get_logits(self.context)


if __name__ == "__main__":
    main()
