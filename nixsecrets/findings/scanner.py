"""Tokens and passwords in ordinary files, found by detect-secrets if it is installed.

Uses its plugins for known kinds of tokens, not those for entropy and keywords: in a
repository of Nix code every hash is random text.
"""

import re
from collections.abc import Iterator
from importlib.util import find_spec

from nixsecrets.findings.catalogue import Code, Finding

_PLUGINS = (
    "ArtifactoryDetector",
    "AWSKeyDetector",
    "AzureStorageKeyDetector",
    "BasicAuthDetector",
    "CloudantDetector",
    "DiscordBotTokenDetector",
    "GitHubTokenDetector",
    "GitLabTokenDetector",
    "IbmCloudIamDetector",
    "IbmCosHmacDetector",
    "JwtTokenDetector",
    "MailchimpDetector",
    "NpmDetector",
    "OpenAIDetector",
    "PypiTokenDetector",
    "SendGridDetector",
    "SlackDetector",
    "SoftlayerDetector",
    "SquareOAuthDetector",
    "StripeDetector",
    "TelegramBotTokenDetector",
    "TwilioKeyDetector",
)
# Public keys, Nix hashes, store paths and encrypted values: random text, not secrets.
_PUBLIC = re.compile(
    r"\bage1[0-9a-z]{20,}|\bssh-(?:ed25519|rsa) AAAA[\w+/=]+"
    r"|\bsha(?:1|256|512)[-:][\w+/=]+|/nix/store/[0-9a-z]{32}-|ENC\[[^\]]*\]"
)
_LARGEST = 1 << 20  # bytes; the plugins take too long for more
_LONGEST_LINE = 5000


def available() -> bool:
    """Return whether detect-secrets is installed (the extra `nixsecrets[scan]`)."""
    return find_spec("detect_secrets") is not None


def scan(path: str, data: bytes) -> Iterator[Finding]:
    """Yield what the plugins find in one file; lines are counted from 1."""
    if len(data) > _LARGEST or b"\0" in data[:8000]:
        return
    # an optional dependency, for --scan alone
    from detect_secrets.core.scan import scan_line
    from detect_secrets.settings import transient_settings

    lines = data.decode("utf-8", "replace").split("\n")
    with transient_settings({"plugins_used": [{"name": name} for name in _PLUGINS]}):
        for number, line in enumerate(lines, start=1):
            if not line.strip() or len(line) > _LONGEST_LINE or _pragma(line):
                continue
            for kind in sorted({s.type for s in scan_line(_PUBLIC.sub("", line))}):
                message = f"holds what looks like a secret: {kind}"
                yield Finding(path, Code.ORDINARY_SECRET, message, number)


def _pragma(line: str) -> bool:
    return "pragma: allowlist secret" in line or "pragma: whitelist secret" in line
