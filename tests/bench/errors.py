"""Errors that end a measure or the whole bench."""


class BenchError(Exception):
    """The root class; its messages are printed to the user."""


class MissingLoadGeneratorError(BenchError):
    """wrk is not installed. The program exits with 2."""

    def __init__(self) -> None:
        super().__init__("the bench makes its load with wrk, and there is none on PATH: apt-get install wrk")


class MeasurementError(BenchError):
    """A figure could not be measured, or would mislead."""
