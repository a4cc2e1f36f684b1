"""The group of all commands; their modules are imported when they are asked for."""

from __future__ import annotations

import importlib

import click

#: Names with the line that `bettong --help` shows: so that help needs no import.
COMMANDS = {
    "run": "Run flows.",
    "demo": "See live windows: no file, network or broker needed.",
    "check": "Find every fault of flow files at once.",
    "explain": "Show what would run, where, and with which guarantees.",
    "list": "List connectors, functions and aggregates.",
    "reload": "Let a running flow go on as its file says now.",
    "drain": "Deliver everything a running flow holds, and end it.",
    "fsck": "Verify and explain what a data folder holds, and repair it.",
    "export": "Write the state of a node into one file.",
    "import": "Make the data folder of a node from such a file.",
    "capture": "Write down what a running flow does, to do it again.",
    "replay": "Do again what was captured, and compare.",
    "send": "Send lines to a flow that acknowledges them.",
    "doctor": "Look whether this box is fit to run flows, and how they do.",
    "key": "Show the key of this box, and let other boxes in.",
    "status": "Show how a running flow is doing.",
    "install": "Make this program a service of this box.",
    "uninstall": "Take the service and the program away.",
    "upgrade": "Put a newer version in the place of this one.",
    "rollback": "Put the version before in its place again.",
    "licenses": "List what is inside, with versions and licences.",
    "version": "Show the version.",
}


#: Modules that are not called as their command is.
_MODULES = {"import": "import_", "doctor": "doctor.command"}


class _Commands(click.Group):
    """A group whose commands are modules of this package: `<name>.py` has `command`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        if cmd_name == "version":
            return _version
        found = importlib.import_module(f"appliance.cli.{_MODULES.get(cmd_name, cmd_name)}").command
        assert isinstance(found, click.Command)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command()
def _version() -> int:
    """Show the version."""
    from appliance.cli import version

    return version.show()


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
def commands() -> None:
    """Events in, keyed windows in native code, results out: a streaming appliance for one box."""
