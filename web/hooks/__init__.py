"""Webhooks: from a forge's delivery to triggers. One module per forge; all pure, no socket and no clock."""
