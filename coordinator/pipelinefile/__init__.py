"""The pipeline language: compiles `.gitlab-ci.yml` and all that it includes into a `protocol.plan.Plan`.

`compile.py` holds the steps in their order. Knows no socket, no database and no engine; asks git for facts.
"""

from coordinator.pipelinefile.compile import Compilation, compile_pipeline
from coordinator.pipelinefile.repository import Repository

__all__ = ["Compilation", "Repository", "compile_pipeline"]
