"""Results without secrets, as they leave the worker. Pure."""

from __future__ import annotations

import msgspec

from daemon.attempts.result import Result
from daemon.logs.masking import Masker
from daemon.reports.release import with_texts


def without_secrets(result: Result, masker: Masker) -> Result:
    """The result with secrets masked, for the coordinator and its users; its reports are masked already."""
    if not masker:
        return result
    hidden = [key for key, value in result.dotenv.items() if masker.hides(value)]
    said = [result.message] if result.message else []
    said += [f"dotenv: {key} contains a secret and is not passed on" for key in hidden]
    artifacts = [msgspec.structs.replace(ref, name=masker.text(ref.name)) for ref in result.artifacts]
    return msgspec.structs.replace(
        result,
        message=masker.text("; ".join(said)) or None,
        dotenv={key: value for key, value in result.dotenv.items() if key not in hidden},
        artifacts=artifacts,
        pages=result.pages and msgspec.structs.replace(result.pages, publish=masker.text(result.pages.publish)),
        release=result.release and with_texts(result.release, masker.text),
    )
