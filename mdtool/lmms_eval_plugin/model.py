"""The model of the plug-in: lmms-eval's interface over a model of mdtool."""

from collections.abc import Iterator, Sequence
from typing import Any

from lmms_eval.api.instance import GenerationResult, Instance, TokenCounts
from lmms_eval.api.model import lmms

from engine.contract import Answer, Box, Done, Failed, ObjectList, Request
from mdtool.lmms_eval_plugin.messages import contents, to_generation, to_request
from mdtool.model_selection import ComputeConfig, load_model


class MdtoolModel(lmms):  # type: ignore[misc]  # lmms-eval has no types
    """A model of mdtool, for `lmms_eval --model mdtool --model_args model=moondream2,quantize=int4`."""

    is_simple = False

    def __init__(
        self,
        *,
        model: str,
        device: str = "auto",
        dtype: str | None = None,
        quantize: str = "none",
        detail: str = "auto",
        batch_size: int | str = 8,
        **ignored: object,  # lmms-eval passes settings of its own, such as max_batch_size
    ) -> None:
        """Load the model.

        Args:
            model: A name from `mdtool models list`, or a path to weights.
            device: As for `mdtool query`, like the arguments below.
            dtype: Number format.
            quantize: Quantisation scheme.
            detail: Resolution at which images are encoded.
            batch_size: Most requests at a time.
            ignored: Settings of lmms-eval that mean nothing here.
        """
        super().__init__()
        computing = ComputeConfig(device=device, dtype=dtype, quantize=quantize, detail=str(detail))
        self.engine_model = load_model(model, "query", [], computing)
        self.batch = int(batch_size) if str(batch_size).isdigit() else 8

    def generate_until(self, requests: list[Instance]) -> list[GenerationResult]:
        """Answer the requests of tasks, in batches.

        Raises:
            EngineError, InputError: A request can't be served. An evaluation without its answer would be none.
        """
        results: dict[int, GenerationResult] = {}
        for event in self.engine_model.run(self._engine_requests(requests), self.batch):
            if isinstance(event, Failed):
                raise event.error
            if isinstance(event, Done):
                results[event.index] = _result(event.result)
        return [results[number] for number in range(len(requests))]

    def _engine_requests(self, requests: Sequence[Instance]) -> Iterator[Request]:
        """Yield one request after the other, so that only the images of a batch are in memory."""
        for instance in requests:
            _, to_messages, settings, document, task, split = instance.args
            messages = contents(to_messages(self.task_dict[task][split][document]))
            yield to_request(self.engine_model, messages, to_generation(settings))

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Refuse: the engine gives no likelihoods of given texts."""
        raise NotImplementedError("mdtool gives no likelihoods: choose a task of the type generate_until")

    def generate_until_multi_round(self, requests: list[Instance]) -> list[str]:
        """Refuse: rounds that depend on answers are not supported."""
        raise NotImplementedError("mdtool serves no task of several rounds: choose one of the type generate_until")


def _result(found: Any) -> GenerationResult:
    """Return an answer, or the first box as text: [x_min, y_min, x_max, y_max] in fractions; "" without one."""
    if isinstance(found, ObjectList):
        boxes = [[box.x_min, box.y_min, box.x_max, box.y_max] for box in found.items if isinstance(box, Box)]
        return GenerationResult("[" + ", ".join(f"{side:.4f}" for side in boxes[0]) + "]" if boxes else "")
    answer: Answer = found
    return GenerationResult(
        answer.text, TokenCounts(input_tokens=answer.prompt_tokens, output_tokens=len(answer.tokens))
    )
