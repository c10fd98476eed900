"""Times llama.cpp on a GGUF file, in a process of its own: `mdtool.jobs.bench.llama_cpp` starts it.

Its OpenMP runtime is not torch's, and in one process the threads of the two would wait for one another.

Arguments: the file, the positions of the context, the number of threads. It answers each line on stdin, a JSON list of
numbers of tokens that follow one another from an empty context on, by the list of the seconds that each took.
"""

import json
import logging
import sys
import time


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

    for line in sys.stdin:
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
        print(json.dumps([seconds(count) for count in json.loads(line)]), flush=True)


if __name__ == "__main__":
    main()
