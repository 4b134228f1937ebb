"""What ends a measure, or the whole bench."""


class BenchError(Exception):
    """The root: the message is for the person at the terminal."""


class MissingLoadGeneratorError(BenchError):
    """There is no wrk. The program ends with 2."""

    def __init__(self) -> None:
        super().__init__("the bench makes its load with wrk, and there is none on PATH: apt-get install wrk")


class MeasurementError(BenchError):
    """A figure could not be had, or would say something else than it seems to."""
