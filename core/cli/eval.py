"""`phireside eval`: how well documents are found, and how good answers are. Each command has a file of its own."""

import typer

from phireside.cli import eval_answers, eval_retrieval

app = typer.Typer(help="Measure how well documents are found, and how good answers are.", no_args_is_help=True)
app.command("retrieval", epilog=eval_retrieval.EXAMPLES)(eval_retrieval.retrieval)
app.command("answers", epilog=eval_answers.EXAMPLES)(eval_answers.answers)
