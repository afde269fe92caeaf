"""`vsal models`: what can be chosen with --model."""

from __future__ import annotations

import typer

from vsal.cli.options import verb
from vsal.cli.screen import Screen


def register(app: typer.Typer) -> None:
    """Add the verb."""
    group = typer.Typer(help="Saliency models that --model can name.", no_args_is_help=True)
    group.command("list")(list_models)
    app.add_typer(group, name="models")


@verb()
def list_models(screen: Screen) -> None:
    """List the registered models: kind, size, licence, sha256."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from vsal.saliency import registry
    from vsal.settings import SHIPPED_MODEL

    models = registry.list_models()
    screen.document(
        {
            "default": SHIPPED_MODEL,
            "models": [
                {
                    "name": model.name,
                    "kind": model.kind,
                    "bytes": model.path.stat().st_size if model.path.exists() else None,
                    "parameters": model.parameters,
                    "licence": model.licence,
                    "training_data": list(model.training_data),
                    "sha256": model.sha256,
                    "path": str(model.path),
                }
                for model in models
            ],
        }
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("name", "kind", "size", "parameters", "licence", "sha256"):
        table.add_column(name, justify="right" if name in ("size", "parameters") else "left")
    for model in models:
        size = f"{model.path.stat().st_size / 1e6:.1f} MB" if model.path.exists() else "[red]missing[/]"
        name = escape(model.name) + (" (default)" if model.name == SHIPPED_MODEL else "")
        millions = f"{model.parameters / 1e6:.2f} M"
        table.add_row(name, model.kind, size, millions, escape(model.licence), model.sha256[:16])
    screen.show(table if models else "No model is registered.")
