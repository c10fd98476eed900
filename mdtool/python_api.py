"""The Python API: load a model by name, and use its skills on paths, arrays and Pillow images.

    model = mdtool.load("moondream2")
    print(model.caption("photo.jpg"))

`mdtool` exports the public names.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Literal, TypeGuard, TypeVar, cast, overload

import engine
from engine.contract import (
    Abilities,
    Answer,
    Box,
    Budgeted,
    CaptionRequest,
    Choices,
    Compilable,
    DetectRequest,
    EncodedImage,
    EngineError,
    GazeRequest,
    Generation,
    ImageBudget,
    LoadOptions,
    ModelUnavailable,
    Number,
    Point,
    PointRequest,
    QueryRequest,
    Request,
)
from engine.generation.verbs import VisionModel
from mdtool.media.image.image_input import PixelSource, to_rgb
from mdtool.model_selection import KEPT_IMAGE_BYTES, read_template

ImageInput = PixelSource | EncodedImage
AnyRequest = TypeVar("AnyRequest", bound=Request)
T = TypeVar("T")


def load(  # noqa: PLR0913  the options of loading, all by name
    name: str | os.PathLike[str],
    *,
    device: str = "auto",
    dtype: str | None = None,
    quantize: str | None = None,
    compile: bool = False,
    detail: str | int | ImageBudget = "auto",
    resize: Literal["vips", "pillow"] | None = None,
    adapter: str | os.PathLike[str] | None = None,
    kv: str | None = None,
    mmproj: str | os.PathLike[str] | None = None,
    chat_template: str | os.PathLike[str] | None = None,
) -> "LoadedModel":
    """Load a model.

    Args:
        name: An embedded model ("centerface" for faces, "pocket" for synthetic scenes), a published one that was pulled
            ("moondream2": `mdtool models pull moondream2`) or a variant of it ("moondream2:int8"), or the file or
            folder of its weights. There is no "auto", which depends on the command.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        dtype: "float32", "bfloat16" or "float16"; None: the fastest for the device.
        quantize: "int8", "int4", "int4-64" and "int4-32" with smaller groups, or "int4-all"; None: as stored.
        compile: Compile with torch.compile before returning, which takes up to a minute the first time.
        detail: Resolution at which images are encoded: "low", "auto", "high", or a number in the model's own unit
            (centerface: pixels of the longer side of its input; Moondream: crops of a large image; others: image
            tokens), or for the others a budget of image tokens.
        resize: Library that resizes images; None: libvips if it is installed.
        adapter: LoRA adapter to apply, by path or by the name of a variant in the hub's cache.
        kv: "int8" keeps the KV cache of a language model in 8 bits, half the memory; None: as it computes.
        mmproj: Vision part of a model in a GGUF file; None: the mmproj file beside it, if there is one.
        chat_template: "builtin" (the model family's own), the name of a built-in one, Jinja, or a file with Jinja;
            None: that of the checkpoint.

    Returns:
        The model.

    Raises:
        ModelUnavailable: The name is unknown, or weights are missing or damaged.
        EngineError: The model does not support an option.
        ValueError: The model has no such detail.

    Example:
        >>> model = mdtool.load("pocket", device="cpu")
        >>> print(model.query("scene.png", "How many stars are there?"))
        1
    """
    if name == "auto":
        raise ModelUnavailable(
            '"auto" is for the command line, where the command decides; load a model by its name or path, '
            'as in mdtool.load("moondream2"); `mdtool models list` lists all'
        )
    budget = detail if isinstance(detail, ImageBudget) else ImageBudget()
    level = "auto" if isinstance(detail, ImageBudget) else detail
    chat = _path(mmproj), read_template(_path(chat_template))
    images = level, resize, _path(adapter), budget
    kept = KEPT_IMAGE_BYTES
    options = LoadOptions(device, dtype, quantize, compile, *images, *chat, kv=kv, kept_image_bytes=kept)
    model = engine.load(os.fspath(name), options)
    if isinstance(model, Compilable) and model.compiled:
        model.warm_up()
    return LoadedModel(model)


class LoadedModel:
    """A model and its skills; made by `mdtool.load`.

    An image is a path, a NumPy array (upright, HxWx3 uint8 RGB; grey and alpha too), a Pillow image, or a result of
    `encode_image`. Each skill takes one image and returns one result, or takes a list of images, which run in batches,
    and returns a list. Coordinates are fractions of the upright image, 0..1, origin top left.

    Every skill raises InputError for an image that can't be read, EngineError for a request that the model does not
    support (UnsupportedPrompt for its prompt), and ValueError for an invalid value. With a list, the first image that
    fails ends the call.
    """

    def __init__(self, model: VisionModel) -> None:
        self._model = model

    def __repr__(self) -> str:
        return f"<mdtool.LoadedModel {self.name}>"

    @property
    def name(self) -> str:
        """The model's name."""
        return self._model.name

    @property
    def revision(self) -> str:
        """The revision of the weights: the hub's commit, or a digest; "" if they are in no file."""
        return self._model.revision

    @property
    def abilities(self) -> Abilities:
        """The skills of the model, and the prompts that each supports."""
        return self._model.abilities

    @overload
    def encode_image(  # type: ignore[overload-overlap]  # a str is a sequence too
        self, image: ImageInput, budget: ImageBudget | None = ...
    ) -> EncodedImage: ...
    @overload
    def encode_image(self, image: Sequence[ImageInput], budget: ImageBudget | None = ...) -> list[EncodedImage]: ...
    def encode_image(
        self, image: ImageInput | Sequence[ImageInput], budget: ImageBudget | None = None
    ) -> EncodedImage | list[EncodedImage]:
        """Encode an image once for any number of calls of this model; encoding is often their most costly part.

        Args:
            image: One image or a list. An encoded image is returned unchanged.
            budget: How many tokens each may become; None: as the model was loaded.

        Returns:
            The encoded image, which every skill takes in place of the image. It holds the model's KV cache, for
            Moondream 2 about 140 MB in 16 bits.

        Example:
            >>> encoded = model.encode_image("photo.jpg")
            >>> faces, caption = model.detect(encoded, "face"), model.caption(encoded)
        """
        return _like(image, list(self._encoded(_listed(image), budget)))

    @overload
    def caption(  # type: ignore[overload-overlap]
        self, image: ImageInput, length: str = ..., *, generation: Generation = ...
    ) -> Answer: ...
    @overload
    def caption(
        self, image: Sequence[ImageInput], length: str = ..., *, generation: Generation = ...
    ) -> list[Answer]: ...
    def caption(
        self,
        image: ImageInput | Sequence[ImageInput],
        length: str = "normal",
        *,
        generation: Generation = Generation(),
    ) -> Answer | list[Answer]:
        """Describe an image.

        Args:
            image: One image or a list.
            length: A length that the model supports, often "short", "normal" and "long".
            generation: Temperature, max_tokens and so on.

        Returns:
            An Answer for each image; `str()` returns its text.

        Example:
            >>> print(model.caption("photo.jpg", "short", generation=mdtool.Generation(temperature=0)))
        """
        return self._answers(image, lambda encoded: CaptionRequest(encoded, length, generation))

    def stream_caption(
        self, image: ImageInput, length: str = "normal", *, generation: Generation = Generation()
    ) -> Iterator[str]:
        """Describe one image as `caption` does; yield the text as it is generated, in pieces of whole words."""
        request = CaptionRequest(None, length, generation)
        self._model.check(request)
        pieces = self._model.stream_caption([self.encode_image(image)], length, generation)
        return (piece.text for piece in pieces)

    @overload
    def query(  # type: ignore[overload-overlap]
        self,
        image: ImageInput | None,
        question: str,
        reasoning: bool | None = ...,
        references: Sequence[tuple[float, ...]] = ...,
        *,
        generation: Generation = ...,
        allowed: Choices | Number | None = ...,
    ) -> Answer: ...
    @overload
    def query(
        self,
        image: Sequence[ImageInput],
        question: str,
        reasoning: bool | None = ...,
        references: Sequence[tuple[float, ...]] = ...,
        *,
        generation: Generation = ...,
        allowed: Choices | Number | None = ...,
    ) -> list[Answer]: ...
    def query(
        self,
        image: ImageInput | Sequence[ImageInput] | None,
        question: str,
        reasoning: bool | None = None,
        references: Sequence[tuple[float, ...]] = (),
        *,
        generation: Generation = Generation(),
        allowed: Choices | Number | None = None,
    ) -> Answer | list[Answer]:
        """Answer a question about an image.

        Args:
            image: One image or a list; None: a question without an image.
            question: The question, in plain words.
            reasoning: Whether the model reasons before it answers; None: the model's default.
            references: Points (x, y) or boxes (x_min, y_min, x_max, y_max) that the question refers to.
            generation: Temperature, max_tokens and so on.
            allowed: Constrains the answer: `Choices(("day", "night"))`, `Number()`, or None for any text.

        Returns:
            An Answer for each image; `str()` returns its text.

        Example:
            >>> model.query("photo.jpg", "Is it day or night?", allowed=mdtool.Choices(("day", "night"))).text
        """
        places = tuple(references)
        return self._answers(
            image, lambda encoded: QueryRequest(encoded, question, reasoning, places, generation, allowed=allowed)
        )

    def stream_query(
        self,
        image: ImageInput | None,
        question: str,
        reasoning: bool | None = None,
        references: Sequence[tuple[float, ...]] = (),
        *,
        generation: Generation = Generation(),
    ) -> Iterator[str]:
        """Answer a question as `query` does; yield the text as it is generated. The reasoning is not streamed."""
        self._model.check(QueryRequest(None, question, reasoning, tuple(references), generation))
        encoded = None if image is None else self.encode_image(image)
        pieces = self._model.stream_query([encoded], question, reasoning, references, generation=generation)
        return (piece.text for piece in pieces)

    @overload
    def detect(  # type: ignore[overload-overlap]
        self, image: ImageInput, prompt: str, *, threshold: float | None = ..., max_objects: int | None = ...
    ) -> list[Box]: ...
    @overload
    def detect(
        self, image: Sequence[ImageInput], prompt: str, *, threshold: float | None = ..., max_objects: int | None = ...
    ) -> list[list[Box]]: ...
    def detect(
        self,
        image: ImageInput | Sequence[ImageInput],
        prompt: str,
        *,
        threshold: float | None = None,
        max_objects: int | None = None,
    ) -> list[Box] | list[list[Box]]:
        """Detect the objects that match a prompt.

        Args:
            image: One image or a list.
            prompt: Such as "face".
            threshold: Least score, 0..1; None: the model's default. Moondream returns no scores and takes no threshold.
            max_objects: Greatest number of boxes per image. None: the model's default, with an ObjectLimitWarning if it
                ended a list. UNLIMITED: until the model stops by itself.

        Returns:
            The boxes of each image, in fractions of the image; they may extend beyond it.

        Example:
            >>> [box.score for box in mdtool.load("centerface").detect("photo.jpg", "face")]
        """
        requests = self._requests(
            image, lambda encoded: DetectRequest(encoded, prompt, max_objects, threshold=threshold)
        )
        boxes: list[list[Box]] = self._model.objects(requests, max_objects)
        return _like(image, boxes)

    @overload
    def point(  # type: ignore[overload-overlap]
        self, image: ImageInput, prompt: str, *, max_objects: int | None = ...
    ) -> list[Point]: ...
    @overload
    def point(
        self, image: Sequence[ImageInput], prompt: str, *, max_objects: int | None = ...
    ) -> list[list[Point]]: ...
    def point(
        self, image: ImageInput | Sequence[ImageInput], prompt: str, *, max_objects: int | None = None
    ) -> list[Point] | list[list[Point]]:
        """Point at the objects that match a prompt.

        Args:
            image: One image or a list.
            prompt: Such as "eye".
            max_objects: As for `detect`.

        Returns:
            The points of each image, in fractions of the image.

        Example:
            >>> [(point.x, point.y) for point in model.point("photo.jpg", "eye")]
        """
        requests = self._requests(image, lambda encoded: PointRequest(encoded, prompt, max_objects))
        points: list[list[Point]] = self._model.objects(requests, max_objects)
        return _like(image, points)

    def detect_gaze(self, image: ImageInput, eye: tuple[float, float]) -> Point | None:
        """Estimate the gaze target of a person in one image.

        Args:
            image: One image.
            eye: (x, y) of an eye of the person, or of the centre of the face, in fractions of the image.

        Returns:
            The gaze target, in fractions of the image; None if it is outside of the image.

        Example:
            >>> face = model.detect("photo.jpg", "face")[0]
            >>> model.detect_gaze("photo.jpg", ((face.x_min + face.x_max) / 2, (face.y_min + face.y_max) / 2))
        """
        [gaze] = self._model.results(self._requests(image, lambda encoded: GazeRequest(encoded, eye)))
        target: Point | None = gaze
        return target

    def _answers(
        self,
        image: ImageInput | Sequence[ImageInput] | None,
        request: Callable[[EncodedImage | None], CaptionRequest | QueryRequest],
    ) -> Answer | list[Answer]:
        answers: list[Answer] = self._model.results(self._requests(image, request))
        return _like(image, answers)

    def _requests(
        self,
        image: ImageInput | Sequence[ImageInput] | None,
        request: Callable[[EncodedImage | None], AnyRequest],
    ) -> Iterable[AnyRequest]:
        """Yield a request for each image.

        Images of a list are encoded as their requests are drawn, for encoded images take much memory. A single image is
        encoded at the call, on the caller's thread. A request that is wrong apart from its image raises first.
        """
        self._model.check(request(None))
        if image is None:
            return [request(None)]
        requests = (request(encoded) for encoded in self._encoded(_listed(image)))
        return requests if _is_list(image) else list(requests)

    def _encoded(self, images: Sequence[ImageInput], budget: ImageBudget | None = None) -> Iterator[EncodedImage]:
        """Yield the encoded images in order, encoding them in batches."""
        batch_size, encode = self._model.image_batch_size, self._model.encode
        if budget is not None:
            if not isinstance(self._model, Budgeted):
                raise EngineError(f"{self.name} encodes every image to the same number of tokens: leave the budget out")
            encode = partial(self._model.encode, budget=budget)
        for start in range(0, len(images), batch_size):
            batch = images[start : start + batch_size]
            encoded = iter(encode([to_rgb(image) for image in batch if not isinstance(image, EncodedImage)]))
            for image in batch:
                yield image if isinstance(image, EncodedImage) else next(encoded)


def _path(path: str | os.PathLike[str] | None) -> str | None:
    return None if path is None else os.fspath(path)


def _is_list(image: ImageInput | Sequence[ImageInput] | None) -> TypeGuard[Sequence[ImageInput]]:
    return isinstance(image, Sequence) and not isinstance(image, str | bytes)


def _listed(image: ImageInput | Sequence[ImageInput]) -> Sequence[ImageInput]:
    return image if _is_list(image) else [cast(ImageInput, image)]


def _like(image: ImageInput | Sequence[ImageInput] | None, results: list[T]) -> T | list[T]:
    """Return the results for a list of images, the only result for a single image."""
    return results if _is_list(image) else results[0]
