"""`mdtool models`: list, download, verify, quantise and remove models."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mdtool.cli.options.model import QuantizationFormat, model_names
from mdtool.console import Console
from mdtool.errors import ExitCode, MdtoolError, UsageError
from mdtool.escaping import one_line
from mdtool.stdout import write_json_record, write_stdout

if TYPE_CHECKING:
    from engine.catalog.published import PublishedModel

app = typer.Typer(help="List, download, verify, quantise and remove models.", no_args_is_help=True)

_NAMES = "from `mdtool models list`, such as moondream2, or qwen3-vl-8b:q4_k_m with a variant"
Name = Annotated[str, typer.Argument(help=f"A name {_NAMES}.", metavar="NAME", autocompletion=model_names)]
Names = Annotated[list[str], typer.Argument(help=f"Names {_NAMES}.", metavar="NAME...", autocompletion=model_names)]


@app.callback()
def models() -> None:
    """List, download and convert models."""


@app.command("list")
def list_models(
    json: Annotated[bool, typer.Option("--json", help="Print JSON Lines: one object per model.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Report on stderr which CPU kernels are in use, and why.")
    ] = False,
) -> None:
    """List all models.

    Prints one line per model: name, whether it is on this machine, skills, summary, and variants, separated by tabs. A
    variant follows the name: qwen3-vl-8b:q4_k_m. Those on this machine have a line of their own.

    \b
    mdtool models list
    mdtool models list --json | jq -r .name
    mdtool models list -v
    """
    import engine
    from engine.catalog.published import downloads, published

    rows = [_row(name, "embedded", engine.abilities(name), engine.embedded_summary(name)) for name in engine.EMBEDDED]
    rows += [row for row in map(_published_row, downloads()) if row["where"] == "here" or row["name"] in published()]
    for row in rows:
        if json:
            write_json_record(row)
            continue
        size = f" ({_size(row['bytes'])})" if "bytes" in row else ""
        variants = " ".join(f":{variant}" for variant in row["variants"])
        write_stdout(f"{row['name']}\t{row['where']}{size}\t{_skills(row)}\t{row['summary']}\t{variants}\n")
    if verbose:
        from engine.kernels.library import kernels

        Console(verbose=True).explain(f"quantised weights on this CPU: {kernels().summary}")
    if sys.stdout.isatty() and not json and any(row["where"] == "not here" for row in rows):
        Console().note("`mdtool models pull NAME` downloads a model that is not here")


@app.command()
def show(
    name: Name,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show what a model is, its licence, where it is downloaded from, and the sizes of its variants.

    \b
    mdtool models show qwen3-vl-8b
    mdtool models show qwen3-vl-8b:q4_k_m --json
    """
    import engine

    if name in engine.EMBEDDED:
        row = _row(name, "embedded", engine.abilities(name), engine.embedded_summary(name))
    else:
        [model] = _published([name])
        row = _published_row(model) | _source_facts(model)
    if json:
        write_json_record(row)
        return
    row |= {"skills": _skills(row), "variants": " ".join(f":{variant}" for variant in row["variants"])}
    row |= {key: _size(row[key]) for key in ("bytes", "download_bytes") if key in row}
    for size in row.pop("variant_bytes", {}).items():
        row[f":{size[0]}"] = _size(size[1])
    for key, value in row.items():
        if value:
            write_stdout(f"{key.removesuffix('_bytes')}\t{one_line(str(value))}\n")


@app.command()
def pull(
    names: Names,
) -> None:
    """Download models from the Hugging Face hub, or from the mirror in HF_ENDPOINT.

    The licence is shown before. An interrupted download is resumed.

    \b
    mdtool models pull moondream2
    mdtool models pull qwen3-vl-8b:q4_k_m
    """
    from engine.catalog import hub
    from engine.contract import ModelUnavailable

    failed = False
    for model in _published(names):
        if model.source and not hub.local(model):
            Console().note(f"{model.name}: {model.size_and_licence}")
        try:
            here = hub.pull(model)
        except ModelUnavailable as error:
            Console().error(str(error))
            failed = True
        else:
            Console().note(f"{model.name}: on this machine, {here.bytes / 1e9:.1f} GB, commit {here.commit}")
    if failed:
        raise typer.Exit(ExitCode.MODEL)


@app.command()
def path(name: Name) -> None:
    """Print the folder of a model's weights.

    \b
    mdtool models path moondream2
    """
    from engine.catalog import hub

    [model] = _published([name])
    here = hub.local(model)
    if here is None:
        raise _no_model(str(hub.not_downloaded_error(model)))
    write_stdout(one_line(str(here.weights.parent)) + "\n")


@app.command()
def verify(
    names: Annotated[
        list[str],
        typer.Argument(
            help=f"Names {_NAMES}. Default: all models on this machine.",
            metavar="[NAME...]",
            autocompletion=model_names,
        ),
    ] = [],
) -> None:
    """Verify the checksums of downloaded models, without the network.

    Prints the name of each intact model; problems go to stderr.

    \b
    mdtool models verify
    """
    from engine.catalog import hub
    from engine.catalog.published import downloads
    from engine.contract import ModelUnavailable

    failed = broken = False
    for model in _published(names) if names else filter(hub.is_partially_downloaded, downloads()):
        try:
            problems = hub.verify(model)
        except ModelUnavailable as error:
            Console().error(str(error))
            failed = True
            continue
        for problem in problems:
            Console().error(f"{model.name}: {problem}")
        if not problems:
            write_stdout(f"{model.name}\tok\n")
        broken = broken or bool(problems)
    if broken:
        Console().note("to replace a broken model: `mdtool models rm NAME`, then `mdtool models pull NAME`")
    if failed or broken:
        raise typer.Exit(ExitCode.MODEL)


@app.command("rm")
def remove(name: Name) -> None:
    """Delete a model from this machine.

    \b
    mdtool models rm moondream2
    mdtool models rm qwen3-vl-8b:q4_k_m
    """
    from engine.catalog import hub
    from engine.contract import ModelUnavailable

    [model] = _published([name])
    if model.quantize:
        base = name.partition(":")[0]
        raise UsageError(f"{name} is made from {base} as it is loaded: there is nothing to delete but {base}")
    try:
        freed = hub.remove(model)
    except ModelUnavailable as error:
        raise _no_model(str(error)) from error
    except OSError as error:
        raise MdtoolError(f"{name}: {error}") from error
    Console().note(f"{name}: removed, {freed / 1e9:.1f} GB freed")


@app.command("quantize")
def quantize_model(
    model: Annotated[
        str,
        typer.Argument(
            help="A name from `mdtool models list`, or a path to weights.",
            metavar="NAME|PATH",
            autocompletion=model_names,
        ),
    ],
    scheme: Annotated[QuantizationFormat, typer.Option(help="Quantisation scheme, as for --quantize.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Output folder: a new or an empty one.", metavar="DIR")
    ],
) -> None:
    """Quantise the weights of a Moondream, and write them to a folder that --model takes.

    \b
    mdtool models quantize moondream2 --scheme int4 -o ./moondream2-int4
    """
    from mdtool.jobs.quantize_model import quantize_checkpoint

    console = Console()
    with console.bar(str(output)) as progress:
        before, after = quantize_checkpoint(model, scheme.value, output, progress)
    console.note(f"{output}: weights quantised from {_size(before)} to {_size(after)}")


def _published(names: list[str]) -> list["PublishedModel"]:
    """Return the published models of these names.

    Raises:
        UsageError: One is embedded in the program.
        ModelNotFound: One does not exist.
    """
    import engine
    from engine.catalog.published import find_published, published, unknown_model_error
    from mdtool.model_selection import model_errors

    models = []
    for name in names:
        if name in engine.EMBEDDED:
            raise UsageError(f"{name} is embedded in mdtool: there is nothing to download, verify or remove")
        with model_errors():
            model = find_published(name)
        if model is None:
            raise _no_model(str(unknown_model_error(name, published())))
        models.append(model)
    return models


def _no_model(message: str) -> MdtoolError:
    from mdtool.model_selection import ModelNotFound

    return ModelNotFound(message)


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _row(name: str, where: str, abilities: Any, summary: str) -> dict[str, Any]:
    skills = {skill: None if prompts is None else sorted(prompts) for skill, prompts in abilities.prompts.items()}
    return {"name": name, "where": where, "skills": skills, "summary": summary, "variants": []}


def _published_row(model: "PublishedModel") -> dict[str, Any]:
    from engine.catalog import hub

    here = hub.local(model)
    where = "here" if here else "not here" if model.source else "not published"
    row = _row(model.name, where, model.abilities, model.summary) | {"variants": model.variant_names}
    if here:
        row |= {"bytes": here.bytes, "commit": here.commit, "weights": str(here.weights)}
    return row


def _source_facts(model: "PublishedModel") -> dict[str, Any]:
    """Return what is known of a model's repository before it is downloaded."""
    source = model.source
    if source is None:
        return {}
    facts = {"repository": source.repo, "revision": source.revision, "licence": source.licence, "terms": source.terms}
    sizes = {name: files.bytes for name, files in model.variants.items()}
    return facts | {"download_bytes": source.bytes, "variant_bytes": sizes}


def _skills(row: dict[str, Any]) -> str:
    return ", ".join(_skill(skill, prompts) for skill, prompts in row["skills"].items())


def _skill(skill: str, prompts: list[str] | None) -> str:
    if prompts is None:
        return f"{skill} (any prompt)" if skill != "gaze" else skill
    return f"{skill} ({', '.join(prompts) if len(prompts) <= 3 else f'{len(prompts)} prompts'})"
