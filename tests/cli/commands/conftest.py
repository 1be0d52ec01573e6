"""The fixture of these tests: an empty folder that becomes a project."""

from tests.support.project import project

__all__ = ["project"]
