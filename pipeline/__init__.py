"""The pipeline language: compiles `.gitlab-ci.yml` and all its includes into a `protocol.plan.Plan`.
`compiler.py` holds the steps in order. Knows no database or engine; asks git for facts, and servers for
included files (`includes/`).
"""

from pipeline.compiler import Compilation, compile_pipeline
from pipeline.git_repository import Repository

__all__ = ["Compilation", "Repository", "compile_pipeline"]
