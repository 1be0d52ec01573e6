"""From a run's git packs to a job's project directory: packs in, tars and layers out. Knows no engine, and checks out
nothing on the host: `store` keeps the objects, `checkout` derives a job's files from them.
"""
