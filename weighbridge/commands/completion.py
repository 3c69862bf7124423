"""`weighbridge completion`: the script by which a shell completes commands and options."""

from __future__ import annotations

import click

__all__ = ["command"]

HOW = {
    "bash": 'eval "$(weighbridge completion bash)"        # in ~/.bashrc',
    "zsh": 'eval "$(weighbridge completion zsh)"         # in ~/.zshrc',
    "fish": "weighbridge completion fish | source         # in ~/.config/fish/config.fish",
}


@click.command(epilog="Put one line into your shell's start file: " + "; ".join(h.split("  ")[0] for h in HOW.values()))
@click.argument("shell", type=click.Choice(sorted(HOW)))
def command(*, shell: str) -> None:
    """Print the script that lets SHELL complete commands, options and choices."""
    from click.shell_completion import get_completion_class

    from weighbridge.cli import cli

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"This version of click knows no completion for {shell}.")
    click.echo(f"# {HOW[shell]}")
    click.echo(kind(cli, {}, "weighbridge", "_WEIGHBRIDGE_COMPLETE").source())
