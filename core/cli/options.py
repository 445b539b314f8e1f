"""Options that several commands have."""

from typing import Annotated

import typer

from phireside.cli.complete import base_names, model_names

Model = Annotated[
    str,
    typer.Option(
        "--model", "-m", help="A name from `models list`, a .gguf, or openai:NAME.", autocompletion=model_names
    ),
]
Base = Annotated[str, typer.Option("--base", "-b", help="Name of the base.", autocompletion=base_names)]
