"""The pipeline language: compiles `.gitlab-ci.yml` and all that it includes into a `protocol.plan.Plan`.

`compile.py` holds the steps in their order. Knows no socket, no database and no engine; asks git for facts.
"""

from pipeline.compiler import Compilation, compile_pipeline
from pipeline.git_repository import Repository

__all__ = ["Compilation", "Repository", "compile_pipeline"]
