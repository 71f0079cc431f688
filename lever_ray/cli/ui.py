"""``lever-ray ui``: the MLflow UI on 127.0.0.1."""

from __future__ import annotations

import argparse
import socket

from lever_ray.cli.exit_codes import FAILED, OK
from lever_ray.cli.words import add_settings
from lever_ray.errors import InvalidValue, SettingsError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its port, and settings; those of an experiment or study choose the link."""
    parser.add_argument("--port", type=int, default=5000)
    add_settings(parser)


def run(arguments: argparse.Namespace) -> int:
    """Serve until it is interrupted; print the links when the server answers."""
    from lever_ray.app.serving import links_of, serve
    from lever_ray.app.settings import load_settings
    from lever_ray.tracking import Tracker, ui_command

    given = load_settings(arguments.settings, about=())
    _check_port(arguments.port)
    tracker = Tracker(given.tracking)
    command = ui_command(tracker, port=arguments.port)
    links = links_of(tracker, given, arguments.settings, port=arguments.port)
    try:
        return FAILED if serve(command, links, port=arguments.port) else OK
    except KeyboardInterrupt:
        return OK  # which is how it ends


def _check_port(port: int) -> None:
    """Refuse a port that the server could not listen at.

    Raises:
        InvalidValue: there is none of that number.
        SettingsError: something else listens there, or it may not be used.
    """
    if not 1 <= port <= 65_535:
        raise InvalidValue(f"--port is {port}; ports are 1 to 65535")
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("127.0.0.1", port))
        except OSError as error:
            raise SettingsError(
                f"port {port} cannot be listened at ({error.strerror}); choose another --port"
            ) from error
