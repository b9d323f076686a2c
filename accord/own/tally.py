"""How often each pair was judged, and how: repeated, contradictory, tied, decided."""

from __future__ import annotations

from dataclasses import dataclass, field

LESS, MORE, TIE = 1, 2, 4  # bits: what somebody said of a pair


@dataclass
class PairTally:
    """Verdicts by pair. A pair takes one small entry in memory, however often it is judged."""

    _said: dict[tuple[int, int], tuple[float, int, int]] = field(default_factory=dict)

    def add(self, first: int, second: int, share: float) -> None:
        """Count a verdict on two different images, by 64-bit numbers that stand for them. share: of the first."""
        if first > second:
            first, second, share = second, first, 1 - share
        lead, said, times = self._said.get((first, second), (0.0, 0, 0))
        bit = TIE if share == 0.5 else MORE if share > 0.5 else LESS
        self._said[first, second] = (lead + 2 * share - 1, said | bit, times + 1)

    def counts(self) -> dict[str, int]:
        """Return the numbers of pairs: all, decided by the majority, tied, contradictory, and of repeated verdicts.

        >>> tally = PairTally()
        >>> tally.add(1, 2, 1.0); tally.add(2, 1, 1.0); tally.add(2, 1, 1.0); tally.add(3, 4, 0.5)
        >>> tally.counts()
        {'pairs': 2, 'decided': 1, 'ties': 1, 'contradictory': 1, 'repeated': 2}
        """
        entries = self._said.values()
        return {
            "pairs": len(entries),
            "decided": sum(abs(lead) > 1e-9 for lead, _, _ in entries),
            "ties": sum(abs(lead) <= 1e-9 for lead, _, _ in entries),
            "contradictory": sum(said & LESS > 0 and said & MORE > 0 for _, said, _ in entries),
            "repeated": sum(times - 1 for _, _, times in entries),
        }
