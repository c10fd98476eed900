import typer

app = typer.Typer(help="Measure how fast this machine does a job.", no_args_is_help=True)


@app.callback()
def group() -> None:
    pass
