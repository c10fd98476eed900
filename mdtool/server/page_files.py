"""The files of the web page."""

from pathlib import Path

FOLDER = Path(__file__).parent / "page"
SCRIPTS = ("answers", "api", "elements", "jobs", "models", "page", "picture", "words", "work")
PAGE_FILES = {  # path -> the file's name and content type
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
} | {f"/{name}.js": (f"{name}.js", "text/javascript") for name in SCRIPTS}
