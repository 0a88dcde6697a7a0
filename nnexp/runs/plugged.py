"""The plugins that a run was trained with: copies are kept, and the same are asked for later.

The copies are never run by themselves: somebody has to name one on a command line.
"""

from __future__ import annotations

from typing import Any

from nnexp.config.plugins import loaded
from nnexp.errors import PluginNeeded, UntrustedRun, count
from nnexp.runs.files import Writer, explained, file_sha256
from nnexp.runs.rundir import RunDir


def keep_plugins(run: RunDir, files: Writer) -> dict[str, Any]:
    """Copies the plugins that are loaded into a new run; what its manifest then says of them."""
    if not loaded():
        return {}
    with explained(run.plugins):
        run.plugins.mkdir()
    for plugin in loaded():
        files.add_bytes(run.plugins / plugin.name, plugin.content)
    return {
        "plugins": [{"name": plugin.name, "sha256": plugin.sha256} for plugin in loaded()],
        "files": {f"plugins/{plugin.name}": plugin.sha256 for plugin in loaded()},
    }


def check_plugins(run: RunDir) -> None:
    """Holds the plugins that are loaded against those that a run (or a member) was trained with.

    Raises PluginNeeded if one was not given, or was changed since; UntrustedRun if it is the run's
    copy that was changed.
    """
    needed = {plugin["sha256"]: plugin["name"] for plugin in run.read_manifest().get("plugins", ())}
    given = {plugin.sha256: plugin.name for plugin in loaded()}
    lacking = {digest: name for digest, name in needed.items() if digest not in given}
    if not lacking:
        return
    home = run if run.plugins.is_dir() else RunDir(run.path.parent)  # a group keeps its members'
    copies = [home.plugins / name for name in needed.values()]
    for digest, name in needed.items():
        copy = home.plugins / name
        if copy.is_file() and file_sha256(home.path, f"plugins/{name}") != digest:
            raise UntrustedRun(
                f"{copy} was changed since the run was written: its SHA-256 is not the manifest's"
            )
    names = ", ".join(lacking.values())
    changed = [name for name in lacking.values() if name in given.values()]
    reason = (
        f"{run.path} was trained with another {', '.join(changed)}: the SHA-256 differs"
        if changed
        else f"{run.path} needs {count(len(lacking), 'plugin')} that it was trained with: {names}"
    )
    if not all(copy.is_file() for copy in copies):
        digests = ", ".join(f"{name} {digest}" for digest, name in lacking.items())
        raise PluginNeeded(f"{reason}; its own copy is gone (SHA-256: {digests})", ())
    raise PluginNeeded(reason, copies)
