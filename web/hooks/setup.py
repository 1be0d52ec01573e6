"""What a user enters at each forge so that its webhooks start a project's runs. Pure text."""

from __future__ import annotations

from protocol.projects import ForgeKind

TITLES: dict[ForgeKind, str] = {
    "gitea": "Forgejo, Gitea",
    "github": "GitHub",
    "gitlab": "GitLab",
    "bitbucket": "Bitbucket",
    "plain": "Any other server or script",
}
STEPS: dict[ForgeKind, list[str]] = {
    "gitea": [
        "Repository > Settings > Webhooks > Add webhook > Forgejo (or Gitea)",
        "Target URL: {url}",
        "HTTP method: POST; content type: application/json",
        "Secret: the hook secret",
        "Trigger on: Push events; custom events: Pull request, Pull request synchronized",
    ],
    "github": [
        "Repository > Settings > Webhooks > Add webhook",
        "Payload URL: {url}",
        "Content type: application/json",
        "Secret: the hook secret",
        "Individual events: Pushes, Pull requests",
    ],
    "gitlab": [
        "Project > Settings > Webhooks > Add new webhook",
        "URL: {url}",
        "Secret token: the hook secret (or Signing token, if the hook secret is one: whsec_...)",
        "Trigger: Push events, Tag push events, Merge request events",
    ],
    "bitbucket": [
        "Repository > Repository settings > Webhooks > Add webhook",
        "URL: {url}",
        "Secret: the hook secret",
        "Triggers: Repository push; Pull request created, updated (Data Center: opened, source branch updated)",
    ],
    "plain": [
        'body=\'{{"ref": "refs/heads/main", "after": "COMMIT", "id": "any unique text"}}\'',
        'signature=$(printf %s "$body" | openssl dgst -sha256 -hmac "$SECRET" -r | cut -d\' \' -f1)',
        'curl -d "$body" -H "X-Longshore-Signature: sha256=$signature" {url}',
    ],
}


def hook_url(web: str, project: str) -> str:
    """The address of a project's webhooks at the web server's address."""
    return f"{web.rstrip('/')}/hooks/{project}"


def steps(kind: ForgeKind, url: str) -> list[str]:
    """What to do at one kind of forge, line by line."""
    return [step.format(url=url) for step in STEPS[kind]]
