"""All keywords of GitLab's pipeline files: their shape, and whether they work here. The single source of both.

Validation, hints for misspelled keys and the table in docs/pipeline-file.md derive from it. A keyword's path is the
path of its mapping plus its name: `job.cache.key` is `key` inside a job's `cache`.
"""

from __future__ import annotations

from pipeline.keywords.job_parts import JOB_PARTS
from pipeline.keywords.jobs import JOB
from pipeline.keywords.kinds import Keyword
from pipeline.keywords.top_level import GLOBAL, INCLUDE, SPEC
from pipeline.schema import fields_by_path

SECTIONS = {
    "At the top of a file": GLOBAL,
    "Under `include`": INCLUDE,
    "In the header": SPEC,
    "In a job": JOB,
    "Inside the keywords of a job": JOB_PARTS,
}
KEYWORDS: tuple[Keyword, ...] = tuple(keyword for keywords in SECTIONS.values() for keyword in keywords)
FIELDS = fields_by_path((keyword.path, keyword) for keyword in KEYWORDS)
"""Keywords by the mapping that contains them."""
NOT_JOBS = frozenset((*FIELDS["global"], "spec"))
"""Top-level names that are not jobs."""
