"""What the person who starts a server decides."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ServerSettings:
    """How a server answers.

    Attributes:
        api_keys: One of them is needed; empty: none.
        cors: Origins of web pages that may call the server; "*": any.
        root_path: Prefix of all paths behind a reverse proxy.
        image_hosts: Hosts that images may be fetched from: "name", "*.name" or "*"; empty: images come in requests.
        max_body_bytes: Largest body of a request.
        max_upload_bytes: Largest picture or video that is sent as a file.
        max_pixels: Largest image, in pixels.
        max_images: Most images of a request.
        memory: Most bytes that the bodies and images of all requests take; None: the budget of the program.
        max_requests: Most requests that are read, wait or run at a time.
        request_timeout: Seconds that a request may take.
        jobs: Most redactions and moderations of videos at a time.
        job_ttl: Seconds after its end until such a job and its files are deleted.
        log_prompts: Whether the access log has the prompts and the answers.
    """

    api_keys: tuple[str, ...] = ()
    cors: tuple[str, ...] = ()
    root_path: str = ""
    image_hosts: tuple[str, ...] = ()
    max_body_bytes: int = 64_000_000
    max_upload_bytes: int = 4_000_000_000
    max_pixels: int = 100_000_000
    max_images: int = 16
    memory: int | None = None
    max_requests: int = 128
    request_timeout: float = 600.0
    jobs: int = 1
    job_ttl: float = 3600.0
    log_prompts: bool = False
