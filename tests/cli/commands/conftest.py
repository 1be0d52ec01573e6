"""The fixtures of a project with a pipeline file, as the compiler's tests have them."""

from tests.pipeline.conftest import project

__all__ = ["project"]
