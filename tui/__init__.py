"""The terminal dashboard: `app.LongshoreApp(address)`. Imports nothing of ours but protocol."""
