"""Sends webhooks at a fixed rate: `python -m benchmarks.hook_sender URL SECRET RATE SECONDS`.

Each is due at its own time, whether earlier ones were answered or not. Prints the answer's status and the milliseconds
from that time to the answer, a line each.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import sys

import aiohttp

CONNECTIONS = 50
"""Connections that are kept open, as forges do."""


async def send(session: aiohttp.ClientSession, url: str, secret: str, number: int, due: float) -> None:
    """Sends one delivery at its time."""
    loop = asyncio.get_running_loop()
    await asyncio.sleep(due - loop.time())
    body = json.dumps(
        {"ref": f"refs/heads/branch-{number % 20}", "after": f"{number + 1:040x}", "id": str(number)}
    ).encode()
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    async with session.post(url, data=body, headers={"X-Longshore-Signature": f"sha256={signature}"}) as answer:
        await answer.read()
    print(answer.status, (loop.time() - due) * 1000)


async def main(url: str, secret: str, rate: float, seconds: float) -> None:
    """Sends all deliveries and waits for their answers."""
    start = asyncio.get_running_loop().time() + 0.1
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONNECTIONS)) as session:
        count = int(rate * seconds)
        await asyncio.gather(*(send(session, url, secret, number, start + number / rate) for number in range(count)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4])))
