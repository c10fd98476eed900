"""`mdtool models`: which models there are."""

import typer

app = typer.Typer(help="Show the models.", no_args_is_help=True)


@app.callback()
def models() -> None:
    pass


@app.command("list")
def list_models() -> None:
    """One line a model: its name, what it can do, and how many prompts it knows if it does not take any words."""
    import engine

    for name in engine.FAMILIES:
        skills = [
            f"{skill} ({'any words' if prompts is None else f'{len(prompts)} prompts'})"
            for skill, prompts in engine.abilities(name).prompts.items()
        ]
        typer.echo(f"{name}\tembedded\t{', '.join(skills)}")
