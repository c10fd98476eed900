import typer

app = typer.Typer(help="Measure how well a model or a redaction does, against ground truth.", no_args_is_help=True)


@app.callback()
def group() -> None:
    pass
