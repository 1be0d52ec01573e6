"""What people do with jobs' containers at a worker: commands in them, and keeping them after the job's end."""
