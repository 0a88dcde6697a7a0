"""How a sweep goes on, for whoever shows it."""

from __future__ import annotations

from nnexp.search.folder import SweepDir


class Progress:
    """Told how a sweep goes on; this one keeps quiet."""

    def note(self, text: str) -> None:
        """Something that the user should know."""

    def begun(self, sweep: SweepDir, trials: int) -> None:
        """Trials begin: so many at most."""

    def advanced(self, done: float, best: float | None) -> None:
        """So many trials are done, the best with this score."""

    def ended(self) -> None:
        """No more trials."""
