"""Stream time: raw timestamps, with their gaps, splices and restarts, as seconds that never run backwards."""

from __future__ import annotations

SPLICE_S = 10.0
"""A jump of more than this is a splice of two recordings, not a pause in one (the rule of the ffmpeg command)."""


class Timeline:
    """Maps the timestamps of one stream to seconds from its start.

    The stream starts at 0.0 (at its first picture, unless `restart` told the start); every picture is later than the
    one before. Where the timestamps jump back, or ahead by more than SPLICE_S, it goes on one interval after the last.
    """

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._splice_s = max(SPLICE_S, 10 * interval_s)
        self._offset_s: float | None = None
        self._last_s: float | None = None
        self._arrival_s = 0.0
        self._resume_s = 0.0
        self._lost = 0

    def restart(self, gap_s: float | None = None, start_s: float | None = None) -> None:
        """Go on with new timestamps: the file starts over, or a connection was made anew.

        Args:
            gap_s: seconds between the last picture and the next; one frame interval if None.
            start_s: the raw timestamp where the new part starts, if the container says.
        """
        if self._last_s is not None:
            self._resume_s = self._last_s + max(self._interval_s if gap_s is None else gap_s, self._interval_s)
        self._offset_s = None if start_s is None else self._resume_s - start_s

    def arrival(self, raw_s: float | None) -> float:
        """When a packet with this decoding timestamp is due, in seconds from the start; never runs backwards."""
        if raw_s is not None and self._offset_s is None:
            self._offset_s = self._resume_s - raw_s
        if raw_s is None or self._offset_s is None:
            return self._arrival_s
        due = raw_s + self._offset_s
        if due > max(self._arrival_s, self._resume_s) + self._splice_s:
            due = self._arrival_s + self._interval_s
        self._arrival_s = max(self._arrival_s, due)
        return self._arrival_s

    def lost(self) -> None:
        """Leave room for a picture that was lost; it matters where there are no timestamps."""
        self._lost += 1

    def picture(self, raw_s: float | None) -> float:
        """The time of the next picture in seconds from the start; later than every picture before.

        >>> timeline = Timeline(interval_s=0.5)
        >>> [timeline.picture(raw) for raw in (7.0, 7.5, None, 8.5, 2.0, 2.5, 4000.0, 4000.5)]
        [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5]
        """
        follows_s = self._resume_s if self._last_s is None else max(self._resume_s, self._last_s + self._interval_s)
        expected = follows_s + self._lost * self._interval_s
        self._lost = 0
        if raw_s is None:
            now = expected
        else:
            if self._offset_s is None:
                self._offset_s = self._resume_s - raw_s
            now = raw_s + self._offset_s
            backwards = self._last_s is not None and now <= self._last_s
            if backwards or now > expected + self._splice_s or now < 0:
                now = expected
                self._offset_s = now - raw_s
        self._last_s = now
        return now
