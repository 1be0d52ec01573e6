"""The terminal dashboard: `app.LongshoreApp(address)`. Imports only `protocol`."""
