"""Threads that decode their first messages at the same moment, as those of an embedded run do."""

from __future__ import annotations

import subprocess
import sys

FIRST_MESSAGES = """
import sys, threading
from protocol import messages as m
from protocol.codec import decode_for_worker, encode
from protocol.plan import ImageSpec, JobPlan

job = JobPlan(name="a", stage="test", script=["true"], image=ImageSpec(name="i"))
assignment = m.Assignment(
    attempt="1.1", run=1, job_id=1, number=1, project="p", project_dir="/p", job=job,
    predefined=[], variables=[], run_variables=[], dependencies=[],
)
frames = encode(m.AssignJob(assignment=assignment))
barrier = threading.Barrier(16)
decoded = []

def decode():
    barrier.wait()
    decoded.append(decode_for_worker(frames)[0])

sys.setswitchinterval(1e-6)
threads = [threading.Thread(target=decode) for _ in range(16)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert [message.assignment for message in decoded] == 16 * [assignment]
"""


def test_threads_may_decode_their_first_messages_at_the_same_time() -> None:
    for _ in range(5):
        done = subprocess.run([sys.executable, "-c", FIRST_MESSAGES], capture_output=True, text=True)
        assert done.returncode == 0, (done.returncode, done.stderr)
