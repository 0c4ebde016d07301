"""The exceptions of the course, drawn once.

CourseError
├── ConfigError (also a ValueError)   a setting that cannot be used
├── BackendUnavailable                an optional package or device is not here
├── ModelLoadError                    a model file that cannot be used
├── ImageError                        a picture that cannot be read
├── VideoError                        a source that cannot be opened or read, a sink that cannot be written
└── PipelineStopped                   work handed to something that has already stopped

Each message is one sentence that says what was wrong and the way out: scripts print it alone and exit with code 2.
"""

from __future__ import annotations


class CourseError(Exception):
    """Base of every error that a user can act on."""


class ConfigError(CourseError, ValueError):
    """A setting is out of range, contradicts another, or names something unknown."""


class BackendUnavailable(CourseError):
    """An optional package, driver or device is needed and not present."""


class ModelLoadError(CourseError):
    """A model file is missing, damaged, hostile, or of a kind that cannot be used here."""


class ImageError(CourseError):
    """A picture is missing, damaged, too large, or of a kind that cannot be read."""


class VideoError(CourseError):
    """A video source cannot be opened or read, or a sink cannot be written."""


class PipelineStopped(CourseError):
    """Work was submitted to a component that has stopped."""
