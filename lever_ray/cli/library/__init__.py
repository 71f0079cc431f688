"""``lever-ray library``: a table of what keeps a library."""

from __future__ import annotations

from lever_ray.cli.table import Entry, Table

EXAMPLE = """example: lever-ray library verify library=NAME
         lever-ray library search "what is wanted" runs/libraries/theirs -k 5"""
COMMANDS: dict[str, Entry] = {
    "verify": Entry(
        "lever_ray.cli.library.verify",
        "Read every file and row, and say what is broken; exit code 1 if anything is.",
    ),
    "repair": Entry("lever_ray.cli.library.repair", "Say what is broken and would be dropped; drop it with --yes."),
    "compact": Entry(
        "lever_ray.cli.library.compact", "Merge small shards, and remove files of changes that were never finished."
    ),
    "migrate": Entry("lever_ray.cli.library.migrate", "Bring a library of an older schema version to today's."),
    "restore": Entry(
        "lever_ray.cli.library.restore",
        "Write a new manifest from the data files, where it is lost or damaged.",
    ),
    "release": Entry(
        "lever_ray.cli.library.release",
        "End the actors of a Ray cluster that hold the library for several drivers (library.shared=true).",
    ),
    "embed": Entry(
        "lever_ray.cli.library.embed",
        "Compute text vectors and Psi where they are missing; in Ray actors unless cluster=serial.",
    ),
    "delete": Entry("lever_ray.cli.library.delete", "Take policies out, by id or by filter; needs --yes."),
    "search": Entry("lever_ray.cli.library.search", "The policies whose descriptions are nearest to some words."),
}
TABLE = Table(
    name="lever-ray library",
    about="Check, repair, tidy, search and embed a library.",
    commands=COMMANDS,
    example=EXAMPLE,
)
